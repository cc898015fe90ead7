"""The least that an engine can be, for tests of what methods ask of one."""

import torch

from domain_masks.errors import DivergedError
from domain_masks.training.optimizers import optimizers_of


class EngineDouble:
    """The least that an engine is: one process, no accumulation, plain SGD with momentum."""

    def __init__(self, method, steps=30, lr=0.05):
        self.method = method
        self.lr = lr
        self.epochs = 1
        self.steps = self.steps_per_epoch = steps
        self.epoch = 0
        self.global_step = 0
        self.phase = method.phases()[0].name
        self.logged = {}
        groups = method.parameter_groups()
        self.optimizers = {}
        for name, kind in optimizers_of(method).items():
            parameters = [parameter for group in kind.groups for parameter in groups[group] if parameter.requires_grad]
            if parameters:
                self.optimizers[name] = torch.optim.SGD(parameters, kind.lr or lr, momentum=0.9)

    @property
    def progress(self):
        return self.global_step / self.steps

    def rate(self, group):
        return self.lr

    def backward(self, loss, batch, only=None, retain=False):
        names = self.optimizers if only is None else only
        groups = [group for name in names for group in self.optimizers[name].param_groups]
        inputs = None if only is None else [parameter for group in groups for parameter in group["params"]]
        loss.backward(retain_graph=retain, inputs=inputs)

    def update(self, *optimizers):
        for name in optimizers or tuple(self.optimizers):
            self.optimizers[name].step()
            self.optimizers[name].zero_grad()
        self.method.after_update(self)

    def log(self, name, value):
        self.logged.setdefault(name, []).append(float(value))

    def require(self, value, limit, batch, message):
        if not float(value) <= limit:
            raise DivergedError(message(float(value)))

    def reduce(self, value):
        return value

    def train(self, method, batch_of):
        """Run all steps; ``batch_of`` is step -> batch. Returns the sums of the terms."""
        method.train()
        losses = []
        method.begin_phase(self.phase)
        method.begin_epoch(self)
        for step in range(self.steps):
            self.global_step = step
            method.zero_grad()
            terms = method.step(batch_of(step), self)
            losses.append(sum(float(term) for term in terms.values()))
        method.end_epoch(self)
        return losses
