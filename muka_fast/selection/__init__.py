"""From signals to teacher weights: which teacher is in-domain for each text.

* ``base``: the pool's signals, the trust scores, and the selection rules
* ``ensemble``: teachers that answer together, without a student
* ``gating``: the gating network: cross-fitted logistic regression
* ``mixture``: the mixture model over label groups, fitted by EM
* ``ood_scores``: out-of-domain scores of a teacher and their likelihood ratio
* ``teacher_likelihood``: log-likelihood ratios of label groups, and initial responsibilities
* ``text_embeddings``: texts as vectors: mean token embeddings or hashed n-grams
"""
