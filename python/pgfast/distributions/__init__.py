"""Action distributions over rows.

=========================  ====================================================================================
:class:`Categorical`       one choice of A: Discrete spaces
:class:`MultiCategorical`  several independent choices: MultiDiscrete spaces, MultiBinary ones with sizes of 2
:class:`DiagGaussian`      real numbers, independent of each other: Box spaces
:class:`Distribution`      the interface that they share
=========================  ====================================================================================
"""

from __future__ import annotations

from pgfast.distributions.categorical import Categorical
from pgfast.distributions.diag_gaussian import DiagGaussian
from pgfast.distributions.distribution import Distribution
from pgfast.distributions.multi_categorical import MultiCategorical

__all__ = ["Categorical", "DiagGaussian", "Distribution", "MultiCategorical"]
