from .checker import check as check
from .tables import show as show
