from .checker import (Check as Check, check as check)
from .tables import show as show
