"""Trains on the CPU through Ultralytics' real launch of several processes: a double for machines without GPUs.

Ultralytics starts ranks only for several CUDA devices. Here a trainer says that it has two; what follows is the real
path: the parent writes a temporary file, torch.distributed.run starts it in each rank, and those average gradients
over gloo.
"""

import datetime as dt

import torch.distributed
from torch.nn.parallel import DistributedDataParallel
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import LOCAL_RANK, RANK

RANKS = 2

wrap = DistributedDataParallel.__init__


def wrap_on_the_cpu(self, module, device_ids=None, *args, **kwargs):
    wrap(self, module, None, *args, **kwargs)


DistributedDataParallel.__init__ = wrap_on_the_cpu


class GlooTrainer(DetectionTrainer):
    """Two ranks on one CPU."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.world_size = RANKS
        self.ddp = LOCAL_RANK == -1

    def _setup_ddp(self):
        timeout = dt.timedelta(seconds=300)
        torch.distributed.init_process_group("gloo", rank=RANK, world_size=RANKS, timeout=timeout)

    def final_eval(self):
        """Leave out what asks for a GPU as soon as there are ranks."""
