import torch

from convexp.training import DeadLeaves


def negative(image):
    return 1 - image


def leaves(**arguments):
    settings = {"seed": 0, "height": 37, "width": 41, "images": 3, "crop_size": 17}
    data = DeadLeaves(operator=negative, **(settings | arguments))
    data.setup()
    return data


def test_leaves_train_and_photographs_validate():
    data = leaves()
    assert list(data.train_pairs) == ["leaves_0", "leaves_1", "leaves_2"]
    assert list(data.val_pairs) == ["coffee", "astronaut"]
    assert {pair.input.shape for pair in data.train_pairs.values()} == {(1, 3, 37, 41)}
    for pair in data.train_pairs.values():
        assert pair.target.equal(1 - pair.input)


def test_crops_are_of_new_leaves_each_time():
    data = leaves()
    known = torch.cat([pair.input for pair in data.train_pairs.values()])
    fresh = torch.cat([data.fresh_pair(number).input for number in range(3)])
    other = torch.cat([leaves(seed=1).fresh_pair(number).input for number in range(3)])
    assert len(torch.cat([known, fresh, other]).flatten(1).unique(dim=0)) == 9
    assert data.fresh_pair(2).input.equal(leaves().fresh_pair(2).input)
    (batch,) = next(iter(data.train_dataloader()))
    assert batch.input.shape == (4, 3, 17, 17)
    assert batch.target.equal(1 - batch.input)


def test_whole_images_are_the_fixed_ones():
    data = leaves(crop_size=None, batch_size=None)
    (batch,) = data.batches(start=0).batch(5)
    assert batch.input.equal(torch.cat([pair.input for pair in data.train_pairs.values()]))
