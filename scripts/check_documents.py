#!/usr/bin/env python3
"""What readers who cannot solve the stand-ins of Text and Retrieval get out of them, as JSON.

    scripts/check_documents.py FOLDER

FOLDER holds either aclImdb's folders train/{neg,pos}/*.txt and test/{neg,pos}/*.txt or the files new_aan_pairs.train.tsv and
new_aan_pairs.test.tsv (label, id1, id2, text1, text2). Fitted on train, scored on test: a logistic regression on the share of each byte (of
pairs a, b: a, b, |a-b|, a*b), the same on the first 256 bytes, and the best guess from all votes in the first 256 bytes, read
without a fault. "whole_oracle" reads all votes. Needs numpy.
"""

import argparse
import collections
import json
import pathlib
import re

import numpy as np

PREFIX = 256


def read(folder, split):
    """Label and texts of each example."""
    if (folder / split / "pos").is_dir():
        return [(label, [file.read_bytes()]) for label, name in enumerate(("neg", "pos")) for file in sorted((folder / split / name).glob("*.txt"))]
    rows = []
    for line in (folder / f"new_aan_pairs.{split}.tsv").read_bytes().splitlines():
        label, _, _, first, second = line.split(b"\t")
        rows.append((int(float(label)), [first, second]))
    return rows


def features(rows, length):
    shares = np.array([[np.bincount(np.frombuffer(text[:length], np.uint8), minlength=256) / len(text[:length]) for text in texts] for _, texts in rows])
    if shares.shape[1] == 1:
        return shares[:, 0]
    a, b = shares[:, 0], shares[:, 1]
    return np.concatenate([a, b, abs(a - b), a * b], 1)


def logistic_regression(train, train_labels, test, test_labels):
    """Newton's method with a small ridge, on standardised features; the accuracy on test."""
    mean, deviation = train.mean(0), train.std(0)
    varies = deviation > 0
    x, z = ((rows[:, varies] - mean[varies]) / deviation[varies] for rows in (train, test))
    x, z = (np.concatenate([rows, np.ones((len(rows), 1))], 1) for rows in (x, z))
    weights, ridge = np.zeros(x.shape[1]), 1e-3 * len(x)
    for _ in range(30):
        p = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        gradient = x.T @ (p - train_labels) + ridge * weights
        weights -= np.linalg.solve((x.T * (p * (1 - p))) @ x + ridge * np.eye(x.shape[1]), gradient)
    return float((((z @ weights) > 0) == test_labels).mean())


def votes(text):
    """Of each clause what most of its letters vote, summed for opinion and for tone over four subjects each."""
    sums = np.zeros((2, 4), int)
    for clause in re.split(rb"[.,]", text):
        count = np.array([[clause.count(bytes([letter])) for letter in letters] for letters in (b"abcd", b"efgh", b"ijkl", b"mnop")])
        if count.any():
            kind, subject = np.unravel_index(count.argmax(), count.shape)
            sums[kind // 2, subject] += 1 - 2 * (kind % 2)
    return sums


def oracle(train, test, length):
    """The best guess from what the first `length` bytes say, learnt on train."""

    def key(texts):
        read = [votes(text[:length]) for text in texts]
        if len(read) == 2:
            return tuple(int(sums.sum()) for sums in read)
        opinion, tone = read[0]
        products = opinion * tone
        return int((products > 0).sum()), int((products < 0).sum()), int(opinion[products == 0].sum())

    lean = collections.Counter()
    for label, texts in train:
        lean[key(texts)] += 2 * label - 1
    return float(np.mean([(lean[key(texts)] > 0) == label for label, texts in test]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    folder = parser.parse_args().folder
    train, test = read(folder, "train"), read(folder, "test")
    train_labels, test_labels = (np.array([label for label, _ in rows]) for rows in (train, test))
    lengths = [len(text) for rows in (train, test) for _, texts in rows for text in texts]

    def bag(length=None):
        return logistic_regression(features(train, length), train_labels, features(test, length), test_labels)

    print(json.dumps({
        "train": len(train), "test": len(test), "test_share_of_1": float(test_labels.mean()),
        "bytes": {"min": min(lengths), "mean": float(np.mean(lengths)), "max": max(lengths)},
        "bag_of_bytes": bag(), "bag_of_first_256": bag(PREFIX), "first_256_oracle": oracle(train, test, PREFIX), "whole_oracle": oracle(train, test, None),
    }, indent=2))


if __name__ == "__main__":
    main()
