"""The kernels in plain float64 NumPy: the executable specification of the native module.

The tests compare the native module with it; nothing in the package imports it. Functions take float64 arrays, check
nothing, and return new arrays even if the native call writes in place.

=====================  =============================================================================
``returns``            discounted returns, generalized advantage estimation
``categorical``        log-probability, entropy, KL divergence, sampling, and the gradient in the logits,
                       of one choice or several independent ones
``diag_gaussian``      the same for real actions
``losses``             the losses of the algorithms and their gradients
``optim``              the steps of SGD, Adam and RMSprop, global-norm clipping
``network``            dense and convolutional layers: forward, vjp, jvp, per-sample vjp, initial weights
``fisher_operator``    products with the Fisher information of a policy
``graph``              networks of several parts
``memory``             recurrent cells and the gradient through time
``policy_gradient``    gradient of a loss in a policy's parameters from its gradients in the rows
``random``             Philox4x32-10, uniform and normal numbers
``second_order``       Fisher matrix, natural gradient and step size, conjugate gradients
=====================  =============================================================================
"""
