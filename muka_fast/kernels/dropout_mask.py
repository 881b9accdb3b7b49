"""Tiles of dropout decisions on the device: the Triton counterpart of ``philox``, with equal bits.

One counter gives sixteen neighbouring decisions, so a tile of M × 16·N decisions costs M × N Philox blocks. A module of
its own, so that ``philox`` and ``layout`` work where Triton is not installed.
"""

import triton
import triton.language as tl


@triton.jit
def keep_tile(key_ptr, text_id, pass_id, site, block, threshold):
    """Decide sixteen elements for each counter.

    Args:
        key_ptr: Pointer to the 64-bit mask key.
        text_id: 64-bit text ids, a scalar or (M, 1).
        pass_id: Pass ids, a scalar or (M, 1).
        site: Dropout site, a scalar.
        block: Element blocks inside the text, (M, N).
        threshold: Lane value below which an element is dropped.

    Returns:
        Which elements are kept, boolean, (M, 16 · N).
    """
    rows: tl.constexpr = block.shape[0]
    blocks: tl.constexpr = block.shape[1]
    key = tl.load(key_ptr).to(tl.uint64, bitcast=True)
    # The first counter's width selects 64-bit random words; NumPy increments its counter before the first block.
    first = (block + 1).to(tl.uint64)
    second = text_id.to(tl.uint64, bitcast=True)
    third = (pass_id.to(tl.uint64) << 32) | site.to(tl.uint64)
    word0, word1, word2, word3 = tl.philox(key, first, second, third, tl.full([], 0, tl.uint64))
    words = tl.reshape(tl.join(tl.join(word0, word2), tl.join(word1, word3)), (rows, blocks, 4))
    shifts = (tl.arange(0, 4) * 16).to(tl.uint64)
    lanes = (words[:, :, :, None] >> shifts[None, None, None, :]).to(tl.int32) & 0xFFFF
    return tl.reshape(lanes >= threshold, (rows, blocks * 16))


@triton.jit
def keep_row(
    key_ptr, text_ids_ptr, row_text_ptr, row_position_ptr, row, pass_id, site, threshold, WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Decide the elements of one packed row, boolean, (BLOCK,); those from WIDTH on are meaningless."""
    text_id = tl.load(text_ids_ptr + tl.load(row_text_ptr + row))
    block = tl.load(row_position_ptr + row) * ((WIDTH + 15) // 16) + tl.arange(0, BLOCK // 16)
    return tl.reshape(keep_tile(key_ptr, text_id, pass_id, site, block[None, :], threshold), (BLOCK,))
