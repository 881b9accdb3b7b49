"""From signals to teacher weights: which teacher is in-domain for each text.

* ``base``: the pool's signals and the selection made of them
* ``ensemble``: teachers that answer together, without a student
* ``gating``: the gating network: cross-fitted logistic regression
* ``mixture``: the mixture model over label groups, fitted by EM
* ``mixture_rule``: the rule of ``pool`` and ``ensemble``: the posterior of the mixture
* ``muka_rule``: the rule of ``muka``: softmax of the trust scores
* ``ood_scores``: out-of-domain scores of a teacher and their likelihood ratio
* ``teacher_likelihood``: log-likelihood ratios of label groups, and initial responsibilities
* ``text_embeddings``: texts as vectors: mean token embeddings or hashed n-grams
* ``trust_scores``: the trust scores of one teacher's signals
"""
