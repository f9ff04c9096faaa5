"""torchrun, which starts the processes of a training.

As `python -m torch.distributed.run` it would take a torch.py in the run's folder for torch.
"""

from torch.distributed.run import main

if __name__ == "__main__":
    main()
