import pytest

from services.metrics.domain.bgnbd import BGNBD
from services.metrics.domain.gamma_gamma import GammaGamma
from services.metrics.domain.newton import Fit
from services.metrics.domain.purchases import Purchases
from tests.unit.metrics import cdnow


@pytest.fixture(scope="session")
def customers() -> dict[str, Purchases]:
    return cdnow.customers()


@pytest.fixture(scope="session")
def columns(customers: dict[str, Purchases]) -> cdnow.Columns:
    return cdnow.columns(customers)


@pytest.fixture(scope="session")
def fitted(columns: cdnow.Columns) -> Fit[BGNBD]:
    return BGNBD.fit(columns.x, columns.t_x, columns.T)


@pytest.fixture(scope="session")
def spending(columns: cdnow.Columns) -> Fit[GammaGamma]:
    return GammaGamma.fit(columns.x, columns.m)
