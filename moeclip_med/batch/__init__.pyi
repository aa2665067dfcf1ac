from .driver import BatchSettings as BatchSettings
from .driver import run_batch as run_batch
from .overview import read_status as read_status
