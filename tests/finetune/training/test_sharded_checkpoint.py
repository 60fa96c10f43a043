"""Rows of a tensor that is divided among files, and the tree of a checkpoint."""

import itertools

import torch

from driveforge.finetune.training.sharded_checkpoint import Rows, map_leaves


def test_rows_of_several_parts_are_those_of_the_whole_tensor() -> None:
    whole = torch.arange(14.0).view(7, 2)
    rows = Rows([whole[:3], whole[3:3], whole[3:4], whole[4:]])
    assert rows.shape == whole.shape and torch.equal(rows.clone(), whole)
    for start, stop in itertools.combinations_with_replacement(range(8), 2):
        assert torch.equal(rows.read(start, stop), whole[start:stop])


def test_leaves_are_changed_and_containers_kept() -> None:
    tree = {0: [1, (2, 3)], "a": {"b": 4}}
    assert map_leaves(tree, lambda leaf: leaf * 10) == {0: [10, (20, 30)], "a": {"b": 40}}
