"""Monte-Carlo dropout on one batch.

* ``activations``: which activations are the exact GELU
* ``dropout_masks``: dropout masks of packed batches on the CPU
* ``dropout_sites``: the dropout sites of a model: found, set, held live
* ``encoder_parts``: linear layers, norms, attention, layers and head, with their dropout sites
* ``encoders``: encoder families: embeddings, layers and head from a loaded model
* ``engine``: the interface of the engines: deterministic pass, dropout passes
* ``factory``: the engine of a teacher, and the check of its logits
* ``features``: the input of a teacher's last linear layer, projected
* ``onednn``: products by oneDNN on the processors where they are faster
* ``packed_engine``: the engine for known families
* ``packing``: the texts of a batch without padding
* ``reference_engine``: the engine for any transformers classifier
* ``signals``: what the store keeps of each text: logits, entropies, energies
* ``stopping``: the stopping rule of adaptive passes, and its audit
* ``text_config``: the part of a configuration that describes how a model reads texts
* ``torch_ops``: the operations between matrix products, in PyTorch
* ``triton_ops``: the same in Triton kernels
"""
