"""Action distributions over rows.

- :class:`Categorical`: one choice of A, for Discrete spaces;
- :class:`MultiCategorical`: several independent choices, for MultiDiscrete and, with sizes of 2, MultiBinary spaces;
- :class:`DiagGaussian`: real numbers, independent of each other, for Box spaces;
- :class:`Distribution`: the interface that they share.
"""

from __future__ import annotations

from pgfast.distributions.categorical import Categorical, MultiCategorical
from pgfast.distributions.diag_gaussian import DiagGaussian
from pgfast.distributions.distribution import Distribution

__all__ = ["Categorical", "DiagGaussian", "Distribution", "MultiCategorical"]
