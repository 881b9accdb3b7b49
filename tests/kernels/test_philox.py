"""Masks: known answers, equal bits on the device, and independence.

Statistical tests have fixed keys; each bound is passed by chance once in a million (two-sided z of 4.89), so a failure
means a broken mask.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from muka_fast.kernels.dropout_mask import keep_tile
from muka_fast.kernels.layout import DropoutSpec
from muka_fast.kernels.philox import PhiloxLanes, keep_scale, row_blocks, threshold
from tests.helpers.kernel_cases import DEVICE, DROP, KEY, TEXT_IDS, keep_attention, keep_rows, lanes, tl, triton

ONE_IN_A_MILLION = 4.892
WORD = 2**64 - 1


def philox4x64(counter: list[int], key: list[int]) -> list[int]:
    """Ten rounds of Philox4x64 as the paper defines them (Salmon et al., SC 2011, section 4.2)."""
    for _ in range(10):
        low, high = 0xD2E7470EE14C6C93 * counter[0], 0xCA5A826395121157 * counter[2]
        counter = [(high >> 64) ^ counter[1] ^ key[0], high & WORD, (low >> 64) ^ counter[3] ^ key[1], low & WORD]
        key = [(key[0] + 0x9E3779B97F4A7C15) & WORD, (key[1] + 0xBB67AE8584CAA73B) & WORD]
    return counter


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        (0, "16554d9eca36314c db20fe9d672d0fdc d7e772cee186176b 7e68b68aec7ba23b"),
        (WORD, "87b092c3013fe90b 438c3c67be8d0224 9cc7d7c69cd777b6 a09caebf594f0ba0"),
    ],
)
def test_known_answers_of_random123(word, expected):
    words = [int(each, 16) for each in expected.split()]
    assert philox4x64([word] * 4, [word] * 2) == words
    generator = np.random.Philox(key=np.array([word] * 2, dtype=np.uint64), counter=0)
    state = generator.state
    # Numpy counts up before its first block: all ones minus one, and zero minus one with every carry.
    state["state"]["counter"][:] = [WORD - 1, WORD, WORD, WORD] if word else [WORD] * 4
    generator.state = state
    assert generator.random_raw(4).tolist() == words


def test_lanes_are_the_words_of_their_counter():
    number, site, blocks = 5, 17, 3
    drawn = lanes(KEY, int(TEXT_IDS[1]), number, site, blocks).reshape(blocks, 16)
    for block in range(blocks):
        words = philox4x64([block + 1, int(TEXT_IDS[1]), number << 32 | site, 0], [KEY, 0])
        assert drawn[block].tolist() == [word >> 16 * lane & 0xFFFF for word in words for lane in range(4)]


def test_threshold_and_scale_are_quantised_alike():
    assert (threshold(0.1), threshold(0.0), row_blocks(16), row_blocks(17)) == (6554, 0, 1, 2)
    assert keep_scale(0.1) == 65536 / (65536 - 6554)
    assert (DropoutSpec(0, 0.5).threshold, DropoutSpec(0, 0.5).scale) == (32768, 2.0)


@triton.jit
def _keep_kernel(key_ptr, text_ids_ptr, pass_ids_ptr, keep_ptr, site, threshold, M: tl.constexpr, N: tl.constexpr):
    row = tl.arange(0, M)[:, None]
    block = tl.broadcast_to(tl.arange(0, N)[None, :], (M, N))
    text_id = tl.load(text_ids_ptr + row)
    number = tl.load(pass_ids_ptr + row)
    keep = keep_tile(key_ptr, text_id, number, site, block, threshold)
    tl.store(keep_ptr + row * (16 * N) + tl.arange(0, 16 * N)[None, :], keep.to(tl.int8))


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 65535 / 65536])
def test_device_equals_numpy_bit_for_bit(p):
    site, texts, pass_ids = 2**31 - 1, np.array([0, 1, WORD, 2**63], dtype=np.uint64), [0, 1, 2**31 - 1, 7]
    key = torch.from_numpy(np.array([KEY], dtype=np.uint64).view(np.int64)).to(DEVICE)
    text_ids = torch.from_numpy(texts.view(np.int64)).to(DEVICE)
    actual = torch.empty(4, 32, dtype=torch.int8, device=DEVICE)
    _keep_kernel[(1,)](key, text_ids, torch.tensor(pass_ids, device=DEVICE), actual, site, threshold(p), M=4, N=2)
    expected = np.stack([lanes(KEY, int(t), n, site, 2) for t, n in zip(texts, pass_ids, strict=True)]) >= threshold(p)
    assert np.array_equal(actual.cpu().numpy().astype(bool), expected)


def test_masks_do_not_depend_on_neighbours_or_order():
    lengths, pass_ids = [5, 2, 9], [3, 4]
    together = keep_rows(KEY, TEXT_IDS, lengths, pass_ids, DROP, 20).reshape(2, 16, 20)
    assert np.array_equal(together[1, 5:7], keep_rows(KEY, TEXT_IDS[1:2], [2], [4], DROP, 20))
    attention = keep_attention(KEY, TEXT_IDS, lengths, pass_ids, DROP, 2)
    assert np.array_equal(attention[2][1:], keep_attention(KEY, TEXT_IDS[2:], [9], [4], DROP, 2)[0])
    assert [each.shape for each in attention] == [(2, length, 2, length) for length in lengths]


SAMPLE = 2**12


def decisions(key: int = 11, text: int = 22, number: int = 3, site: int = 4, p: float = 0.1) -> np.ndarray:
    kept = np.empty(16 * SAMPLE, dtype=np.bool_)
    PhiloxLanes(key).keep(number, site, np.uint16(threshold(p)), [text], [SAMPLE], kept)
    return kept


@pytest.mark.parametrize("in_memory", [True, False])
def test_philox_lanes_keep_equals_the_lanes_of_each_counter_across_chunks_and_calls(in_memory):
    philox = PhiloxLanes(11, in_memory=in_memory)
    assert philox.in_memory == in_memory, "the counter was not found in this NumPy: masks are right, but slower"
    limit, texts, blocks = np.uint16(threshold(0.1)), [2**64 - 1, 7, 2**64 - 1], [SAMPLE, 3, 2]
    for _ in range(2):  # a draw leaves nothing behind for the next
        kept = np.empty(16 * sum(blocks), dtype=np.bool_)
        philox.keep(3, 4, limit, texts, blocks, kept)
        expected = [lanes(11, text, 3, 4, count) for text, count in zip(texts, blocks, strict=True)]
        assert np.array_equal(kept, np.concatenate(expected) >= limit)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_keep_rate(p):
    kept, rate = decisions(p=p), 1 - threshold(p) / 65536
    z = (kept.mean() - rate) / np.sqrt(rate * (1 - rate) / kept.size)
    assert abs(z) < ONE_IN_A_MILLION


@pytest.mark.parametrize("change", [{"key": 12}, {"text": 23}, {"text": 2**63}, {"number": 4}, {"site": 5}])
@pytest.mark.parametrize("p", [0.1, 0.5])
def test_streams_are_uncorrelated(change, p):
    correlation = np.corrcoef(decisions(p=p), decisions(p=p, **change))[0, 1]
    assert abs(correlation) * np.sqrt(16 * SAMPLE) < ONE_IN_A_MILLION


@pytest.mark.parametrize("shift", [1, 4, 16, 17])
def test_neighbours_are_uncorrelated(shift):
    kept = decisions(p=0.5)
    correlation = np.corrcoef(kept[shift:], kept[:-shift])[0, 1]
    assert abs(correlation) * np.sqrt(kept.size - shift) < ONE_IN_A_MILLION


def test_lanes_are_uniform():
    counts = np.bincount(lanes(11, 22, 3, 4, SAMPLE) >> 8, minlength=256)
    chi_square = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
    # Wilson and Hilferty's normal approximation of the chi-square with 255 degrees of freedom.
    z = ((chi_square / 255) ** (1 / 3) - (1 - 2 / (9 * 255))) / np.sqrt(2 / (9 * 255))
    assert abs(z) < ONE_IN_A_MILLION
