"""The kernels once more, in plain float64 NumPy: the executable specification of what the native module computes.

Written to be read and to be compared with; nothing in the package imports it. Functions take and give float64 arrays,
check nothing and return new arrays, also where the native call writes in place.

=====================  =============================================================================
``returns``            discounted returns, generalized advantage estimation
``categorical``        log-probability, entropy, KL divergence, sampling, and the gradient at the logits,
                       of one choice or several independent ones
``diag_gaussian``      the same for real actions
``losses``             the losses of the algorithms and their gradients
``optim``              the steps of SGD, Adam and RMSprop, global-norm clipping
``network``            dense and convolutional layers: forward, vjp, jvp, per-sample vjp, initial weights
``fisher_operator``    products with the Fisher information of a policy
``policy_gradient``    gradients of a policy's parameters from those of each row
``random``             Philox4x32-10, uniform and normal numbers
``second_order``       Fisher matrix, natural gradient and step size, conjugate gradients
=====================  =============================================================================
"""
