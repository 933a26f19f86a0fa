"""Action distributions over rows.

===================================  ==============================================================
:class:`Categorical(logits)`         one choice of A: Discrete spaces
:class:`MultiCategorical(logits,     several independent choices: MultiDiscrete spaces, and
sizes)`                              MultiBinary ones with sizes of 2
:class:`DiagGaussian(mean,           real numbers, independent of each other: Box spaces
log_std)`
:class:`Distribution`                the interface that they share
===================================  ==============================================================
"""

from __future__ import annotations

from pgfast.distributions.categorical import Categorical
from pgfast.distributions.diag_gaussian import DiagGaussian
from pgfast.distributions.distribution import Distribution
from pgfast.distributions.multi_categorical import MultiCategorical

__all__ = ["Categorical", "DiagGaussian", "Distribution", "MultiCategorical"]
