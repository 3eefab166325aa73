"""`python -m services.metrics`"""

import os

# Set before numpy is imported: BLAS threads made small fits nine times slower.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

from libs.common.service import serve
from services.metrics.app import create
from services.metrics.settings import Settings

serve("metrics", create, Settings)
