"""What the mathematics of churn and value can refuse.

RapportError
└── Conflict           409
    └── FitImpossible  409  the purchases at hand don't determine the model
"""

from libs.common.errors import Conflict


class FitImpossible(Conflict):
    """The purchases don't determine the model; `detail` says why and what to do. An earlier fit stays valid."""

    title = "Fit impossible"
