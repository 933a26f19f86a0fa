"""The kernels once more, in plain float64 NumPy: the executable specification of what the native module computes.

Written to be read and to be compared with; nothing in the package imports it. Functions take and give float64 arrays,
check nothing and return new arrays, also where the native call writes in place.

===============  ===================================================================================
``returns``      discounted returns, generalized advantage estimation
``categorical``  log-probability, entropy, KL divergence, sampling, and the gradient at the logits
``losses``       the losses of the advantage actor-critic and their gradient
``optim``        the steps of SGD, Adam and RMSprop, global-norm clipping
``network``      dense and convolutional layers: forward, vjp, jvp, per-sample vjp, initial weights
``random``       Philox4x32-10, uniform and normal numbers
``second_order`` Fisher matrix, natural gradient and step size, conjugate gradients
===============  ===================================================================================
"""

from __future__ import annotations

from pgfast.reference import categorical, losses, network, optim, random, returns, second_order

__all__ = ["categorical", "losses", "network", "optim", "random", "returns", "second_order"]
