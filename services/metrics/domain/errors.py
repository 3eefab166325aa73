"""The errors of fitting a model.

RapportError
└── Conflict           409
    └── FitImpossible  409  the purchases do not determine the model
"""

from libs.common.errors import Conflict


class FitImpossible(Conflict):
    """The purchases do not determine the model. `detail` says why and what to do. An earlier fit stays valid."""

    title = "Fit impossible"
