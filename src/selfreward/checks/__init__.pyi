from .checker import (Check as Check, check as check)
from .named import assert_ready as assert_ready
from .reach import models_of as models_of
from .judged import usual_example as usual_example
from .served import ask_servers as ask_servers, meet_own as meet_own
from .tables import show as show
from .scout import looker as looker
