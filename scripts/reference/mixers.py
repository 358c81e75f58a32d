"""Every mixer once more, for one sequence: dense, naive, straight from the formulas, in float64. Nothing here is shared with lib/mixers.

A function takes the weights (Weights) and x (n, d_model), and returns (n, d_model). Masks are full n x n tables, a place that sees nothing does not
occur, and gradients come from autograd with the discrete choices (hash, sort, top k) held fixed.
"""

import math

import torch
import torch.nn.functional as F


class Weights:
    """Parameters and buffers by name, resolved options, sizes, and the ids of the sequence's tokens (or None)."""

    def __init__(self, tensors, options, spec, token_ids=None):
        self.tensors, self.options, self.spec, self.ids = tensors, options, spec, token_ids
        self.heads = spec["num_heads"]
        self.d = spec["d_qkv"] // self.heads

    def __getitem__(self, name):
        return self.tensors[name]

    def linear(self, name, x):
        y = x @ self[name + ".weight"].T
        return y + self[name + ".bias"] if name + ".bias" in self.tensors else y

    def project(self, name, x):
        """(n, d_model) -> (H, n, d)"""
        return self.split(self.linear(name, x))

    def split(self, y):
        return y.reshape(len(y), self.heads, self.d).transpose(0, 1)

    def qkv(self, x):
        return self.project("query", x), self.project("key", x), self.project("value", x)

    def output(self, mixed):
        """(H, n, d) -> (n, d_model)"""
        return self.linear("output", mixed.transpose(0, 1).reshape(mixed.shape[1], -1))


def table(n, seen):
    """(n, n) bool: entry i, j is seen(i, j)."""
    return torch.tensor([[bool(seen(i, j)) for j in range(n)] for i in range(n)])


def logits(q, k):
    return q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])


def softmax(scores, seen=None):
    if seen is not None:
        scores = scores.masked_fill(~seen, -math.inf)
    return torch.softmax(scores, -1)


def attend(q, k, v, seen=None):
    return softmax(logits(q, k), seen) @ v


def masked(w, x, seen):
    return w.output(attend(*w.qkv(x), seen))


def normalised(weights):
    return weights / weights.sum(-1, keepdim=True)


def normalised_by_logarithms(q, k):
    """Rows of weights, the products of positive features, from the features' logarithms: as numbers they could all be 0."""
    return torch.softmax(torch.logsumexp(q[:, :, None] + k[:, None], -1), -1)


def unit(rows):
    return rows / rows.norm(dim=-1, keepdim=True).clamp_min(1e-12)  # zeros stay zeros


def full(w, x):
    return masked(w, x, None)


def none(w, x):
    return w.output(w.project("value", x))


def local(w, x):
    o = w.options
    if o["blocked"]:
        return masked(w, x, table(len(x), lambda i, j: i // o["block"] == j // o["block"]))
    return masked(w, x, table(len(x), lambda i, j: abs(i - j) <= o["window"]))


def strided(w, x):
    s, window = w.options["stride"], w.options["window"]
    return masked(w, x, table(len(x), lambda i, j: any(j == i + t * s for t in range(-window, window + 1))))


def global_(w, x):
    n, o = len(x), w.options
    if o["tokens"] == "added":
        q, k, v = w.project("query", w["tokens"]), w.project("key", x), w.project("value", x)
        read = w.output(attend(q, k, v))  # (g, d_model)
        rows = []
        for i in range(n):
            sources = torch.cat([read, x[i : i + 1]])
            rows.append(attend(w.project("query", x[i : i + 1]), w.project("key", sources), w.project("value", sources)))
        return w.output(torch.cat(rows, 1))
    special = [int(t) in o["token_ids"] for t in w.ids] if o["token_ids"] else [i < o["count"] for i in range(n)]
    return masked(w, x, table(n, lambda i, j: special[i] or special[j] or i == j))


def sparse(w, x):
    n, o, block = len(x), w.options, w.options["block"]
    if o["pattern"] == "fixed":
        first = table(n, lambda i, j: i // block == j // block)
        second = table(n, lambda i, j: j % block >= block - o["columns"] or i == j)
    else:
        first = table(n, lambda i, j: abs(i - j) <= block)
        second = table(n, lambda i, j: (i - j) % block == 0)
    if o["merged"]:
        return masked(w, x, first | second)
    return masked(w, x, torch.stack([first if h < math.ceil(w.heads / 2) else second for h in range(w.heads)]))


def longformer(w, x):
    n, o = len(x), w.options
    g, window = min(o["global_tokens"], n), o["window"]
    seen = []
    for h in range(w.heads):
        step = o["dilation"] if h >= w.heads - o["dilated_heads"] else 1
        seen.append(table(n, lambda i, j: j < g or ((j - i) % step == 0 and abs(j - i) // step <= window)))
    mixed = attend(*w.qkv(x), torch.stack(seen))
    if g > 0:
        everywhere = attend(w.project("query_global", x), w.project("key_global", x), w.project("value_global", x))
        mixed = torch.cat([everywhere[:, :g], mixed[:, g:]], 1)
    return w.output(mixed)


def bigbird(w, x):
    n, o, block = len(x), w.options, w.options["block"]
    blocks = math.ceil(n / block)
    seen = torch.zeros(w.heads, n, n, dtype=torch.bool)
    for h in range(w.heads):
        for b in range(blocks):
            keys = {c for c in range(blocks) if b < o["global_blocks"] or abs(b - c) <= 1 or c < o["global_blocks"]}
            drawn = [c for c in w["random_order"][h, b].long().tolist() if c < blocks and c not in keys]
            for c in keys | set(drawn[: o["random_blocks"]]):
                seen[h, b * block : (b + 1) * block, c * block : (c + 1) * block] = True
    return masked(w, x, seen)


def reformer(w, x):
    n, o = len(x), w.options
    q, v = w.project("query", x), w.project("value", x)
    buckets = o["buckets"] or math.ceil(n / o["chunk"])
    if buckets > 1:
        buckets += buckets % 2
    met = torch.zeros(w.heads, n, n, dtype=torch.bool)
    for rotations in w["rotations"] if buckets > 1 else [None]:
        for h in range(w.heads):
            bucket = [0] * n
            if buckets > 1:
                turned = q[h].detach() @ rotations[h, :, : buckets // 2]
                bucket = torch.cat([turned, -turned], -1).argmax(-1).tolist()
            order = sorted(range(n), key=lambda i: (bucket[i], i))
            chunks = [order[start : start + o["chunk"]] for start in range(0, n, o["chunk"])]
            for c, chunk in enumerate(chunks):
                for i in chunk:
                    for j in chunk + chunks[c - 1]:
                        met[h, i, j] |= bucket[i] == bucket[j]
    itself = torch.eye(n, dtype=torch.bool)
    seen = met & ~itself
    alone = ~seen.any(-1, keepdim=True)
    return w.output(attend(q, unit(q), v, seen | (alone & itself)))


def routing(w, x):
    n, o = len(x), w.options
    q, k, v = w.qkv(x)
    q, k = (F.layer_norm(t, (w.d,), eps=1e-5) for t in (q, k))
    size = min(o["window"], n)
    near = table(n, lambda i, j: abs(i - j) <= o["fallback_window"])
    heads = []
    for h in range(w.heads):
        rows = [[] for _ in range(n)]
        for centroid in w["centroids"][h]:
            queries = (q[h] @ centroid).topk(size).indices.tolist()
            keys = (k[h] @ centroid).topk(size).indices
            for i in queries:
                rows[i].append(attend(q[h, i : i + 1], k[h, keys], v[h, keys])[0])
        for i in range(n):
            if not rows[i]:
                rows[i].append(attend(q[h, i : i + 1], k[h, near[i]], v[h, near[i]])[0])
        heads.append(torch.stack([torch.stack(row).mean(0) for row in rows]))
    return w.output(torch.stack(heads))


def sinkhorn(w, x):
    n, o, block = len(x), w.options, w.options["block"]
    q, k, v = w.qkv(x)
    blocks = [range(start, min(start + block, n)) for start in range(0, n, block)]
    u = torch.stack([x[list(places)].mean(0) for places in blocks])
    scores = logits(w.project("sort_query", u), w.project("sort_key", u)) / o["temperature"]
    for _ in range(o["iterations"]):
        scores = scores - torch.logsumexp(scores, -2, keepdim=True)
        scores = scores - torch.logsumexp(scores, -1, keepdim=True)
    match = scores.exp()
    heads = []
    for h in range(w.heads):
        rows = []
        for i, own in enumerate(blocks):
            keys, values = [k[h, j] for j in own], [v[h, j] for j in own]
            for t in range(len(blocks[0])):  # the first block is never the shorter one
                there = [j for j, places in enumerate(blocks) if t < len(places)]
                total = sum(match[h, i, j] for j in there)
                keys.append(sum(match[h, i, j] * k[h, blocks[j][t]] for j in there) / total)
                values.append(sum(match[h, i, j] * v[h, blocks[j][t]] for j in there) / total)
            rows.append(attend(q[h, list(own)], torch.stack(keys), torch.stack(values)))
        heads.append(torch.cat(rows))
    return w.output(torch.stack(heads))


def linformer(w, x):
    q, k, v = w.qkv(x)
    e = w["E"][..., : len(x), :]
    f = e if w.options["share"] in ("kv", "layers") else w["F"][..., : len(x), :]
    return w.output(attend(q, e.transpose(-1, -2) @ k, f.transpose(-1, -2) @ v))


def compressed(w, x):
    n, stride = len(x), w.options["stride"]
    kernel = w.options["kernel"] or stride
    q, k, v = w.qkv(x)

    def shorten(name, rows):  # (H, n, d) -> (H, slots, d)
        heads = []
        for h in range(w.heads):
            mine = slice(h * w.d, (h + 1) * w.d)
            slots = []
            for t in range(0, n, stride):
                slot = sum(w[name + ".weight"][mine, :, u] @ rows[h, t + u] for u in range(kernel) if t + u < n)
                slots.append(slot + w[name + ".bias"][mine] if name + ".bias" in w.tensors else slot)
            heads.append(torch.stack(slots))
        return torch.stack(heads)

    return w.output(attend(q, shorten("compress_key", k), shorten("compress_value", v)))


def linear(w, x):
    q, k, v = w.qkv(x)

    def log_features(rows):  # of elu + 1
        return torch.where(rows > 0, torch.log1p(rows.clamp_min(0)), rows.clamp_max(0))

    return w.output(normalised_by_logarithms(log_features(q), log_features(k)) @ v)


def efficient(w, x):
    q, k, v = w.qkv(x)
    return w.output(torch.softmax(q, -1) @ torch.softmax(k, -2).transpose(-1, -2) @ v)


def performer(w, x):
    o = w.options
    q, k, v = w.qkv(x)

    def log_features(rows):
        rows = rows / w.d**0.25
        return rows @ w["directions"].T - (rows**2).sum(-1, keepdim=True) / 2

    def features(rows, mean_over):
        if o["kernel"] == "relu":
            return (rows / w.d**0.25 @ w["directions"].T).clamp_min(0) + o["feature_epsilon"]
        logarithms = log_features(rows)
        mean = torch.logsumexp(logarithms, mean_over, keepdim=True) - math.log(logarithms[0].numel() if mean_over != -1 else logarithms.shape[-1])
        return torch.exp(logarithms - mean) + o["feature_epsilon"]

    if o["kernel"] == "softmax" and o["feature_epsilon"] == 0:
        return w.output(normalised_by_logarithms(log_features(q), log_features(k)) @ v)
    return w.output(normalised(features(q, -1) @ features(k, (-2, -1)).transpose(-1, -2)) @ v)


def rfa(w, x):
    q, k, v = w.qkv(x)

    def features(rows):
        angles = w["sigma"][:, None, None] * unit(rows) @ w["directions"].T
        return torch.cat([angles.sin(), angles.cos()], -1)

    return w.output(normalised(features(q) @ features(k).transpose(-1, -2)) @ v)


def synthesizer(w, x):
    n, o = len(x), w.options
    if o["kind"] == "random":
        scores = w["left"] @ w["right"].transpose(-1, -2) if o["factorized"] else w["logits"]
        scores = scores[:, :n, :n]
    else:
        hidden = w.project("hidden", x).relu()

        def head(name):  # (H, n, rows of the weight)
            return hidden @ w[name + "_weight"].transpose(-1, -2) + w[name + "_bias"][:, None, :]

        if o["factorized"]:
            b = o["factor"] or math.ceil(math.sqrt(w.spec["max_length"]))
            left, right = head("a"), head("b")
            scores = torch.stack([left[:, :, j // b] * right[:, :, j % b] for j in range(n)], -1)
        else:
            scores = head("dense")[:, :, :n]
    if o["mixture"]:
        scores = scores + logits(w.project("query", x), w.project("key", x))
    return w.output(softmax(scores) @ w.project("value", x))


def fnet(w, x):
    n, length, width = len(x), w.spec["max_length"], x.shape[1]
    turn = 2 * math.pi
    over_tokens = turn / length * torch.outer(torch.arange(n), torch.arange(n)).double()
    over_features = turn / width * torch.outer(torch.arange(width), torch.arange(width)).double()
    return over_tokens.cos() @ x @ over_features.cos() - over_tokens.sin() @ x @ over_features.sin()


def gelu(x):
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def mlp_mixer(w, x):
    n = len(x)
    hidden = gelu(w["expand_weight"][:, :n] @ x + w["expand_bias"][:, None])
    return w["contract_weight"][:n] @ hidden + w["contract_bias"][:n, None]


def gmlp(w, x):
    n = len(x)
    u, v = gelu(w.linear("input", x)).chunk(2, -1)
    v = F.layer_norm(v, v.shape[-1:], w["norm.weight"], w["norm.bias"], 1e-5)
    v = w["spatial_weight"][:n, :n] @ v + w["spatial_bias"][:n, None]
    return w.linear("output", u * v)


def mixed(w, x):
    parts = w.options["parts"]
    rest = w.heads - sum(part["heads"] for part in parts)  # for the part that has 0
    total = 0
    for p, part in enumerate(parts):
        prefix = f"part{p}."
        tensors = {name[len(prefix) :]: tensor for name, tensor in w.tensors.items() if name.startswith(prefix)}
        heads = part["heads"] or rest
        spec = w.spec | {"num_heads": heads, "d_qkv": heads * w.d}
        total = total + MIXERS[part["mixer"]](Weights(tensors, part["mixer_options"], spec, w.ids), x)
    return total


MIXERS = {
    "bigbird": bigbird,
    "compressed": compressed,
    "efficient": efficient,
    "flash": full,
    "fnet": fnet,
    "global": global_,
    "gmlp": gmlp,
    "linear": linear,
    "linformer": linformer,
    "local": local,
    "longformer": longformer,
    "mixed": mixed,
    "mlp_mixer": mlp_mixer,
    "none": none,
    "performer": performer,
    "reformer": reformer,
    "rfa": rfa,
    "routing": routing,
    "sinkhorn": sinkhorn,
    "softmax": full,
    "sparse": sparse,
    "strided": strided,
    "synthesizer": synthesizer,
}
