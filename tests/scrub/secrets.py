"""Secrets, and places to plant them in."""

import random

from hypothesis import strategies as st

MARK = "Zqxvacme"
"""In every secret; no word of it is on any list."""

SHAPES = (
    "{}",
    "/home/{0}/My Drive/{0} Corp/train.py",
    "/mnt/data (client {})/x/train.py(1): f",
    "/data/lr=3,client={}/train.py(3): main",
    "../{}/train.py(3): f",
    "C:\\Kunden\\{} GmbH\\train.py",
    "\\\\fileserver\\{}\\share",
    "https://user:{}@git.example.com/x.git",
    "{}.lastname@example.com",
    "gpu-node7.{}.internal",
    "--token {} --lr 3",
    "ProfilerStep#3 {}",
    "tbperf/{}",
    "tbperf/module:{0}.0 {0} (head)",
    "enumerate(DataLoader)#{}",
    "Optimizer.step#{}.step",
    "aten::{}_forward",
    "void {}::gemm_kernel<float>(float const*)",
    "nn.Module: {}_0",
    "<built-in method open of /srv/[{}]/weights.pt>",
    "{}Backward0",
    "site-packages/torch/{}/conv.py(5): forward",
    "GPU-{}-1234",
    "{}\x00PATH=/bin",
    "☃{}é",
    "key={}",
    "thread 7 ({})",
    "loader worker {}",
    "{}.pt",
    "2.4.0+{}",
    '["{}"]',
)
chances = st.integers(0, 1 << 32).map(random.Random)
"""Thousands of choices by one number: hypothesis would take longer to draw them than all else takes."""


def secret(chance):
    """Return one of the secrets; ``chance`` is a random.Random."""
    return chance.choice(SHAPES).format(MARK)


def planted(chance, value, share=0.3):
    """Return a JSON value with secrets in some of its texts, keys, lists and objects."""
    if isinstance(value, dict):
        found = {key: planted(chance, inner, share) for key, inner in value.items()}
        if chance.random() < share:
            found[secret(chance)] = chance.choice((1, None, "x", [1], {"a": 1}))
            found["note"] = secret(chance)
        return found
    if isinstance(value, list):
        found = [planted(chance, inner, share) for inner in value]
        return [*found, secret(chance)] if chance.random() < share / 8 else found
    if isinstance(value, str) and chance.random() < share:
        return chance.choice((secret(chance), value + secret(chance), f"{secret(chance)} {value}", f"{value}_{MARK}"))
    if isinstance(value, int) and chance.random() < share / 20:
        return secret(chance)
    return value


def is_in(data):
    """Tell whether any secret is in some bytes, however it is written."""
    lowered = data.lower()
    spelled = (MARK.lower().encode(encoding) for encoding in ("utf-8", "utf-16-le", "utf-16-be"))
    return any(word in lowered for word in spelled)
