"""python train.py model=deep target=edges_blur."""

from convexp.runs.command import train

if __name__ == "__main__":
    train()
