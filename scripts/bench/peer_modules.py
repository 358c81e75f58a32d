"""The mechanisms that peers.py measures: our mixer's options, and the public PyTorch implementations, each as one module x (B, N, d) -> (B, N, d) with its
projections. Settings are chosen so that both sides do the same work; where they compute something else all the same, `differs` says what.
"""

import dataclasses
import functools
import importlib.metadata
import math
from typing import Callable

import torch
import torch.nn.functional as F
from torch import nn

WIDTH, HEADS, BATCH = 256, 4, 2
BLOCK, HASHES, CLUSTER, LOW_RANK, FEATURES, FACTOR, LONGFORMER_WINDOW = 64, 2, 128, 256, 256, 4, 512
WARMUP_STEPS = 2
LENGTH_MULTIPLE = 512  # what every implementation can take without padding


def linear() -> nn.Linear:
    return nn.Linear(WIDTH, WIDTH, bias=False)


class Projected(nn.Module):
    """Query, key, value and output projections around `core`, which mixes heads (B, H, N, d)."""

    def __init__(self, core: Callable):
        super().__init__()
        self.query, self.key, self.value, self.output = (linear() for _ in range(4))
        self.core = core

    def forward(self, x):
        q, k, v = (p(x).view(*x.shape[:2], HEADS, -1).transpose(1, 2) for p in (self.query, self.key, self.value))
        return self.output(self.core(q, k, v).transpose(1, 2).reshape(x.shape))


def sdpa(n: int) -> nn.Module:
    return Projected(F.scaled_dot_product_attention)


def eager_softmax(n: int) -> nn.Module:
    return Projected(lambda q, k, v: torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(q.size(-1)), dim=-1) @ v)


def eager_linear(n: int) -> nn.Module:
    def core(q, k, v):
        q, k = F.elu(q) + 1, F.elu(k) + 1
        return q @ (k.transpose(-2, -1) @ v) / (q @ k.sum(-2).unsqueeze(-1))

    return Projected(core)


def local(n: int) -> nn.Module:
    from local_attention import LocalAttention

    return Projected(LocalAttention(window_size=BLOCK, look_backward=1, look_forward=1, exact_windowsize=True))


class Longformer(nn.Module):
    def __init__(self, n: int):
        super().__init__()
        from transformers import LongformerConfig
        from transformers.models.longformer.modeling_longformer import LongformerSelfAttention

        self.attention = LongformerSelfAttention(
            LongformerConfig(hidden_size=WIDTH, num_attention_heads=HEADS, attention_window=[LONGFORMER_WINDOW], attention_probs_dropout_prob=0.0), 0
        )
        self.output = linear()
        mask = torch.zeros(BATCH, n)
        mask[:, 0] = 10000.0  # the first token is global
        self.masks = {"attention_mask": mask, "is_index_masked": mask < 0, "is_index_global_attn": mask > 0, "is_global_attn": True}

    def forward(self, x):
        return self.output(self.attention(x, **self.masks)[0])


class BigBird(nn.Module):
    def __init__(self, n: int):
        super().__init__()
        from transformers import BigBirdConfig
        from transformers.models.big_bird.modeling_big_bird import BigBirdBlockSparseAttention, BigBirdModel

        config = BigBirdConfig(hidden_size=WIDTH, num_attention_heads=HEADS, block_size=BLOCK, num_random_blocks=3, use_bias=False,
                               attention_probs_dropout_prob=0.0, max_position_embeddings=n)  # fmt: skip
        self.attention = BigBirdBlockSparseAttention(config, seed=0)
        self.output = linear()
        blocked, band, rows, columns = BigBirdModel.create_masks_for_block_sparse_attn(torch.ones(BATCH, n), BLOCK)
        self.masks = {"band_mask": band, "from_mask": rows, "to_mask": columns, "from_blocked_mask": blocked, "to_blocked_mask": blocked}

    def forward(self, x):
        return self.output(self.attention(x, **self.masks)[0])


class HuggingFaceReformer(nn.Module):
    def __init__(self, n: int):
        super().__init__()
        from transformers import ReformerConfig
        from transformers.models.reformer.modeling_reformer import LSHSelfAttention

        config = ReformerConfig(hidden_size=WIDTH, num_attention_heads=HEADS, attention_head_size=WIDTH // HEADS, attn_layers=["lsh"], is_decoder=False,
                                lsh_attn_chunk_length=BLOCK, num_hashes=HASHES, num_buckets=n // BLOCK, lsh_attention_probs_dropout_prob=0.0)  # fmt: skip
        self.attention = LSHSelfAttention(config)
        self.output = linear()

    def forward(self, x):
        return self.output(self.attention(x).hidden_states)


def reformer_pytorch(n: int) -> nn.Module:
    from reformer_pytorch import LSHSelfAttention

    return LSHSelfAttention(WIDTH, heads=HEADS, bucket_size=BLOCK, n_hashes=HASHES)


class Routing(nn.Module):
    def __init__(self, n: int):
        super().__init__()
        from routing_transformer.routing_transformer import SelfAttention

        self.attention = SelfAttention(WIDTH, depth=1, max_seq_len=n, heads=HEADS, local_attn_heads=0, window_size=CLUSTER)

    def forward(self, x):
        return self.attention(x)[0]  # without the loss that draws tokens to their centroids, which ours has not

    def end_training_step(self):
        self.attention.global_attn.kmeans.update()


def sinkhorn(n: int) -> nn.Module:
    from sinkhorn_transformer.sinkhorn_transformer import SinkhornSelfAttention

    return SinkhornSelfAttention(WIDTH, BLOCK, n, heads=HEADS, non_permutative=False, sinkhorn_iter=8)


def linformer(n: int) -> nn.Module:
    from linformer import LinformerSelfAttention

    return LinformerSelfAttention(WIDTH, n, k=LOW_RANK, heads=HEADS)


def compressed(n: int) -> nn.Module:
    from memory_compressed_attention import MemoryCompressedAttention

    return MemoryCompressedAttention(WIDTH, heads=HEADS, compression_factor=FACTOR)


def efficient(n: int) -> nn.Module:
    from linear_attention_transformer.linear_attention_transformer import SelfAttention

    return SelfAttention(WIDTH, HEADS)


def performer(n: int) -> nn.Module:
    from performer_pytorch import SelfAttention

    return SelfAttention(WIDTH, heads=HEADS, dim_head=WIDTH // HEADS, nb_features=FEATURES)


class FNet(nn.Module):
    def __init__(self, n: int):
        super().__init__()
        from transformers import FNetConfig
        from transformers.models.fnet.modeling_fnet import FNetBasicFourierTransform

        self.transform = FNetBasicFourierTransform(FNetConfig(hidden_size=WIDTH, use_tpu_fourier_optimizations=False))

    def forward(self, x):
        return self.transform(x)[0]


def mlp_mixer(n: int) -> nn.Module:
    from mlp_mixer_pytorch.mlp_mixer_pytorch import FeedForward

    return FeedForward(n, n // 2, dense=functools.partial(nn.Conv1d, kernel_size=1))


def gmlp(n: int) -> nn.Module:
    from g_mlp_pytorch.g_mlp_pytorch import gMLPBlock

    return gMLPBlock(dim=WIDTH, dim_ff=WIDTH, seq_len=n)


PROJECTIONS = {f"{name}.weight": f"{name}.weight" for name in ("query", "key", "value", "output")}
LONGFORMER = {f"{name}.weight": f"attention.{name}.weight" for name in ("query", "key", "value", "query_global", "key_global", "value_global")}
LINFORMER = {"query.weight": "to_q.weight", "key.weight": "to_k.weight", "value.weight": "to_v.weight", "output.weight": "to_out.weight", "E": "proj_k", "F": "proj_v"}
MLP_MIXER = {"expand_weight": "0.weight", "expand_bias": "0.bias", "contract_weight": "3.weight", "contract_bias": "3.bias"}
GMLP = {"input.weight": "proj_in.0.weight", "norm.weight": "sgu.norm.weight", "norm.bias": "sgu.norm.bias", "spatial_weight": "sgu.weight",
        "spatial_bias": "sgu.bias", "output.weight": "proj_out.weight"}  # fmt: skip


@dataclasses.dataclass
class Peer:
    package: str  # as PyPI calls it; "torch": a few lines of eager PyTorch
    make: Callable[[int], nn.Module]
    same: dict | None = None  # our parameters -> theirs, where both compute the same: checked before anything is timed
    differs: str = ""
    title: str = ""  # instead of the package's name

    @property
    def name(self) -> str:
        title = self.title or self.package
        try:
            return f"{title} {importlib.metadata.version(self.package)}"
        except importlib.metadata.PackageNotFoundError:
            return title


@dataclasses.dataclass
class Mechanism:
    peers: list[Peer]
    options: Callable[[int], dict] = lambda n: {}  # our mixer's, for length n


MECHANISMS = {
    "flash": Mechanism([Peer("torch", sdpa, PROJECTIONS, title="SDPA of PyTorch")]),  # the peer is the reference itself: its ratio shows the noise
    "softmax": Mechanism([Peer("torch", eager_softmax, PROJECTIONS, title="eager PyTorch")]),
    "local": Mechanism([Peer("local-attention", local, PROJECTIONS)], lambda n: {"window": BLOCK}),
    "longformer": Mechanism([Peer("transformers", Longformer, {**LONGFORMER, "output.weight": "output.weight"})],
                            lambda n: {"window": LONGFORMER_WINDOW // 2, "global_tokens": 1}),
    "bigbird": Mechanism([Peer("transformers", BigBird, differs="global are the first two blocks in ours, the first and the last in theirs; at 1,024 and 4,096 "
                                                                "tokens theirs draws random blocks from the first 1,024 tokens alone")],
                         lambda n: {"block": BLOCK, "random_blocks": 3, "global_blocks": 2}),
    "reformer": Mechanism([Peer("transformers", HuggingFaceReformer, differs="theirs neither hides other buckets nor counts pairs that meet in both rounds"),
                           Peer("reformer-pytorch", reformer_pytorch, differs="as theirs of transformers (its defaults)")],
                          lambda n: {"chunk": BLOCK, "rounds": HASHES}),
    "routing": Mechanism([Peer("routing-transformer", Routing, differs="ours gives a window of ±16 to queries that no cluster took, theirs nothing; "
                                                                   "ours attends with normalised queries and keys, theirs only compares them with the centroids")],
                         lambda n: {"window": CLUSTER, "clusters": n // CLUSTER}),
    "sinkhorn": Mechanism([Peer("sinkhorn-transformer", sinkhorn, differs="theirs scores blocks by their mean queries and keys, without projections of "
                                                                          "their own, and takes matched keys as matched values")],
                          lambda n: {"block": BLOCK, "iterations": 8}),
    "linformer": Mechanism([Peer("linformer", linformer, LINFORMER)], lambda n: {"k": LOW_RANK}),
    "compressed": Mechanism([Peer("memory-compressed-attention", compressed, differs="theirs has one more, learned key and scales logits by the width of all heads")],
                            lambda n: {"stride": FACTOR}),
    "linear": Mechanism([Peer("torch", eager_linear, PROJECTIONS, title="eager PyTorch")]),
    "efficient": Mechanism([Peer("linear-attention-transformer", efficient, differs="theirs scales queries once more, by 1/√d")]),
    "performer": Mechanism([Peer("performer-pytorch", performer, differs="other random directions; theirs adds its epsilon to each feature")],
                           lambda n: {"features": FEATURES}),
    "fnet": Mechanism([Peer("transformers", FNet, {})]),
    "mlp_mixer": Mechanism([Peer("mlp-mixer-pytorch", mlp_mixer, MLP_MIXER)], lambda n: {"hidden": n // 2}),
    "gmlp": Mechanism([Peer("g-mlp-pytorch", gmlp, GMLP)]),
}  # fmt: skip
