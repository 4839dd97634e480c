from .entry import (app as app, main as main)
