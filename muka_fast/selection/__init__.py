"""From signals to teacher weights: which teacher is in-domain for each text.

* ``abstention``: teachers that have no preference for a text
* ``base``: the pool's signals and the selection made of them
* ``conditional_logit``: the learned weights of the evidence (weights.json), and scores by them
* ``correlated_classes``: classes of different teachers that are predicted for the same texts
* ``ensemble``: teachers that answer together, without a student
* ``evidence``: numbers of each (text, teacher) that suppose no choice of teacher
* ``few_labels``: the rule's scores corrected by a few labels and by known shares
* ``first_stage``: evidence of a sample and of other texts, diffused
* ``in_domain``: the rule: evidence, diffusion, first score, prototypes, posterior
* ``in_domain_rule``: the selection of ``pool`` and ``ensemble`` by this rule
* ``label_queries``: which texts of a pool to label
* ``mahalanobis``: distances to a teacher's class means
* ``muka_rule``: the rule of ``muka``: softmax of the trust scores
* ``neighbours``: nearest neighbours, and diffusion over their graph
* ``ngrams``: vectors of texts without a pretrained encoder
* ``prototypes``: where the classes lie in the views
* ``reliability``: the recall of a choice, estimated without labels
* ``text_encoder``: texts and class names in a pretrained encoder
* ``text_vectors``: the same, kept in the score store
* ``texts``: what the rule reads of a pool
* ``trust_scores``: the trust scores of one teacher's signals
* ``views``: the spaces in which neighbours and prototypes are looked for
"""
