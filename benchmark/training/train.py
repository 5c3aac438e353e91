"""The only training loop."""

import itertools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import torch

import methods
from benchmark.records import provenance, selection
from benchmark.records.selection import OWN
from benchmark.records.spec import RunSpec
from benchmark.settings import RunSettings
from benchmark.training import checkpoint, evaluate, feature_cache, gradients, outcome, seeds, setup
from benchmark.training.checkpoint import Checkpoints, UnreadableCheckpointError
from benchmark.training.evaluate import Predictions
from benchmark.training.feature_cache import Pair
from benchmark.training.feature_store import EVAL
from benchmark.training.loader import Feed, Inputs, Loader, kept_view
from benchmark.training.model import MultimodalModel
from benchmark.training.outcome import Outcome
from benchmark.training.passes import PassCounter
from benchmark.training.watcher import Watcher
from datasets.base import MultimodalDataset
from methods.base import Batch, Model, Run, Validation
from methods.logs import NonFiniteLossError
from methods.shared.averaging import frozen_buffers, trained


class Training:
    """One run: sets everything up from its spec, trains, and measures.

    Raises (from `run`):
        NonFiniteLossError: a loss became NaN or infinite.
        OSError: the state cannot be saved, or a loading process was lost.
    """

    def __init__(
        self,
        spec: RunSpec,
        dataset: MultimodalDataset,
        settings: RunSettings,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        """Build everything; `checkpoints` says where the state is saved, None: nowhere."""
        self.spec, self.settings, self.checkpoints = spec, settings, checkpoints
        self.device = settings.torch_device()
        self.history = provenance.History(
            {**provenance.collect(self.device), "kernels": settings.kernels}
        )
        dataset.prepare(spec.modalities)
        self.left_out = setup.left_out(spec, dataset)
        parts = dataset.parts(spec.sources, spec.target)
        self.duplicates = setup.duplicates(spec, dataset, parts)
        self.model = setup.model(spec, dataset, settings)
        samples = itertools.chain.from_iterable(parts.values())
        self.cache = feature_cache.of_run(spec, dataset, settings, self.model, samples)
        self.model.to(self.device)
        workers = setup.workers(spec, dataset, settings)
        pinned = self.device.type == "cuda"
        self._new_feed = partial(Feed, dataset, spec.modalities, spec.sources, workers, pinned)
        self.feed = self._new_feed(self.cache, self.fill_cache)
        self.scales = setup.scales(dataset)
        self.shapes = setup.shapes(spec, dataset)
        self.train_part, self.val_part, self.target_part = setup.loaders(spec, self.feed, parts)
        self.gradient_part = (
            gradients.part(spec, self.feed, parts) if settings.log_gradients else None
        )
        self.classes = dataset.card.classes
        self.run_info = self._run_info(len(self.classes))
        # Before the method is set up, so that its copies of the model count, too.
        self.passes = PassCounter(self.model)
        self.method = methods.create(spec.method, spec.hyperparameters)
        published = methods.components(spec.method)[-1].published.reports
        self.rules = selection.rules(published, tested=bool(spec.target))
        torch.manual_seed(seeds.stream(spec.seed, "method", "init"))
        self.method.setup(self.model, self.run_info)
        self.method.to(self.device).train()
        self._new_optimizer()
        torch.manual_seed(seeds.stream(spec.seed, "torch"))
        self.epoch = self.batch = 0
        self.stopped = False
        self.records: list[dict[str, Any]] = []
        self.chosen: dict[str, dict[str, Any]] = {}
        self.seconds = 0.0
        self.started = time.monotonic()
        self._watcher: Watcher | None = None

    # Setting up

    def _run_info(self, classes: int) -> Run:
        return Run(
            modalities=self.spec.modalities,
            domains=self.spec.sources,
            classes=classes,
            total_steps=self.spec.recipe.steps or self.spec.recipe.epochs * self.train_part.steps,
            ema_warmup=self.spec.protocol.ema_warmup,
            average_bn=self.spec.protocol.average_bn,
            generator=seeds.generator(self.spec.seed, "method"),
            train_loader=lambda: self.evaluation(self.train_part),
            val_loader=lambda: self.evaluation(self.val_part),
            refresh_bn=self._refresh_bn,
            reset_optimizer=self._new_optimizer,
        )

    def _new_optimizer(self) -> None:
        recipe = self.spec.recipe
        groups = self.method.param_groups()
        for group in groups:
            group["lr"] = recipe.lr * group.pop("lr_factor", 1.0)
        self.optimizer = torch.optim.Adam(
            groups, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True
        )

    # Batches: the stem runs here, once per batch, and nowhere else

    def _batch(
        self, inputs: Inputs, training: bool, stem_of: MultimodalModel | None = None
    ) -> Batch:
        inputs = self.received(inputs)
        views = [inputs.tensors, *inputs.second]
        if not inputs.past_stem:
            model = stem_of or self.model
            views = [model.stem(tensors, training) for tensors in views]
        return Batch(views[0], inputs.labels, inputs.domains, inputs.ids, *views[1:])

    def received(self, inputs: Inputs) -> Inputs:
        """Return a batch on the device, as the encoders read it."""
        return inputs.to(self.device).scaled(self.scales)

    def fill_cache(self) -> None:
        """Compute the features of this run that the cache lacks."""
        assert self.cache is not None
        train = self.train_part.samples
        pairs = [(s, EVAL) for s in (*train, *self.val_part.samples, *self.target_part.samples)]
        pairs += [(s, view) for view in range(self.spec.protocol.views) for s in train]
        feed = self._new_feed()

        def compute(wanted: Sequence[Pair]) -> Batch:
            (inputs,) = feed.serve([[(s, (kept_view(s, view),)) for s, view in wanted]])
            return self._batch(inputs, False)

        def tell(done: int, total: int) -> None:
            if self._watcher is not None:
                self._watcher.filling(done, total)

        self.cache.fill(pairs, 2 * self.train_part.batch_size, compute, tell)
        feed.close()

    def evaluation(
        self,
        part: Loader,
        stem_of: MultimodalModel | None = None,
        batch_size: int | None = None,
    ) -> Iterator[Batch]:
        """Yield a part in order with evaluation transforms, through the stem of some model."""
        for inputs in part.evaluation(batch_size):
            if self._watcher is not None:
                self._watcher.alive(self.run_info.step, self.run_info.total_steps)
            yield self._batch(inputs, False, stem_of)

    def _refresh_bn(self, target: Model) -> None:
        assert isinstance(target, MultimodalModel)
        # Batches of the size that the statistics are made for.
        target.refresh_batch_norms(
            self.evaluation(self.train_part, batch_size=self.train_part.batch_size)
        )

    # The loop

    def run(self, watcher: Watcher) -> Outcome:
        """Train to the end, from the start or from where `resume` found the run."""
        self._watcher = watcher
        try:
            if self.cache is not None:
                self.fill_cache()
                self.started = time.monotonic()  # all runs that share the cache needed it
            # A batch number other than 0 says that an epoch is not closed yet.
            while (self._steps_left() or self.batch) and not self.stopped:
                self._run_epoch(watcher)
            self.method.finalize()
            if any(cls.own_rule for cls in methods.components(self.spec.method)):
                self._choose_own()
            return self._outcome()
        finally:
            self.feed.close()

    def _steps_left(self) -> int:
        return self.run_info.total_steps - self.run_info.step

    def _run_epoch(self, watcher: Watcher) -> None:
        self.run_info.epoch = self.epoch
        if self.batch == 0:
            self.method.epoch_start()
        every = self.spec.recipe.validate_every
        left = itertools.islice(
            self.train_part.training_epoch(self.epoch, self.batch), self._steps_left()
        )
        for inputs in left:
            self.train_on(inputs)
            watcher.step(self.run_info.step, self.run_info.total_steps)
            if every and self.run_info.step % every == 0:
                self._validate(watcher)
            self._checkpoint_if_due()
            if self.stopped:
                return
        self.method.epoch_end()
        fresh = bool(self.records) and self.records[-1]["step"] == self.run_info.step
        if not fresh and not (every and self._steps_left()):
            self._validate(watcher)
        self.epoch += 1
        self.batch = 0
        self._checkpoint_if_due()

    def train_on(self, inputs: Inputs) -> None:
        """Make one training step on a batch."""
        self._set_learning_rate()
        self.run_info.step += 1
        self.batch += 1
        batch = self._batch(inputs, True)
        try:
            with self.passes.counting(len(batch.ids)):
                self.method.step(batch, self._update)
        except Exception:
            self.run_info.logs.settle()  # a loss that was not finite is the cause to tell
            raise

    def _set_learning_rate(self) -> None:
        """Set the rate of the coming step; the step alone decides it, so nothing is resumed."""
        decay = self.spec.recipe.decay
        if decay == "none":
            return
        done = self.run_info.step / self.run_info.total_steps
        cosine = 0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2
        factor = cosine if decay == "cosine" else (1 + 10 * done) ** -0.75
        for group in self.optimizer.param_groups:
            group["lr"] = group.setdefault("base_lr", group["lr"]) * factor

    def _update(self) -> None:
        self.optimizer.step()
        self.method.after_step()

    def _validate(self, watcher: Watcher) -> None:
        self.run_info.logs.settle()
        evaluated, student = self.method.eval_model(), self.method.model
        models = {"evaluated": evaluated} | ({} if evaluated is student else {"student": student})
        val = evaluate.predict(self.method, self.evaluation(self.val_part), models)
        tested = self._tested(evaluated)
        stats = Validation(
            student=val.get("student", val["evaluated"]).stats(), evaluated=val["evaluated"].stats()
        )
        if not all(math.isfinite(head.loss) for head in stats.evaluated.values()):
            raise NonFiniteLossError(
                f"the validation loss is not finite at step {self.run_info.step}: "
                + ", ".join(f"{head}={s.loss:g}" for head, s in stats.evaluated.items())
            )
        self.stopped = self.method.validated(stats)
        entry = {
            "epoch": self.epoch,
            "step": self.run_info.step,
            "train": self.run_info.logs.flush() | self._gradients(),
            "val": {head: asdict(s) for head, s in stats.evaluated.items()},
            "student": {head: asdict(s) for head, s in stats.student.items()},
        }
        for part, predictions in tested.items():
            entry[part] = {head: asdict(s) for head, s in predictions.stats().items()}
        self.records.append(entry)
        self._keep_if_chosen({"val": val["evaluated"], **tested})
        watcher.validated(self.records)

    def _gradients(self) -> dict[str, float]:
        """Return the gradients of the trained model to log; nothing where that is not wanted."""
        if (part := self.gradient_part) is None:
            return {}
        return gradients.logged(self.method, self.evaluation(part, batch_size=part.batch_size))

    def _tested(self, model: Model) -> dict[str, Predictions]:
        """Return a model's predictions on the target; nothing where the run has none."""
        if not self.spec.target:
            return {}
        batches = self.evaluation(self.target_part)
        return {"target": evaluate.predict(self.method, batches, {"it": model})["it"]}

    def _keep_if_chosen(self, parts: dict[str, Predictions]) -> None:
        """Keep weights and predictions of this validation for every rule that would choose it."""
        newest = len(self.records) - 1
        rules = [name for name, rule in self.rules.items() if rule(self.records) == newest]
        if rules:
            predictions = {part: p.state() for part, p in parts.items()}
            kept = {"record": newest, "weights": self.weights(), "predictions": predictions}
            self.chosen.update(dict.fromkeys(rules, kept))

    def weights(self) -> dict[str, torch.Tensor]:
        """Return copies of all tensors of the evaluated model that training can change.

        The stem's buffers are the student's, whose stem made the features.
        """
        mine = self.model.state_dict()
        evaluated = self.method.eval_model().state_dict()
        names = [*trained(self.model), *self.model.changing_buffers()]
        return {
            name: (mine if ".stem." in name else evaluated)[name].cpu().clone() for name in names
        }

    # Resume

    def _checkpoint_if_due(self) -> None:
        if self.checkpoints is None or not self.checkpoints.due:
            return
        now = time.monotonic()
        self.seconds, self.started = self.seconds + now - self.started, now
        self.checkpoints.save(
            {
                "method": self._method_state(),
                "optimizer": self.optimizer.state_dict(),
                "random": checkpoint.random_state(self.device),
                "generator": self.run_info.generator.get_state(),
                "logs": self.run_info.logs.state(),
                "position": (self.epoch, self.batch, self.run_info.step, self.stopped),
                "records": self.records,
                "chosen": {rule: kept["record"] for rule, kept in self.chosen.items()},
                "passes": self.passes.counts,
                "seconds": self.seconds,
                "segments": self.history.until(self.run_info.step),
            },
            {kept["record"]: kept for kept in self.chosen.values()},
        )

    def _method_state(self) -> dict[str, Any]:
        """Return the method's state without the frozen stages, which nothing changes."""
        stages = [self.model.encoder(k).stem for k in self.model.modalities]
        frozen = {id(p) for stage in stages for p in stage.parameters()}
        frozen |= frozen_buffers(self.model)
        state = self.method.state_dict(keep_vars=True)
        return {
            name: value.detach() if isinstance(value, torch.Tensor) else value
            for name, value in state.items()
            if id(value) not in frozen
        }

    def resume(self) -> int | None:
        """Go to where the run was last saved; return that step, None where nothing was saved.

        Raises:
            UnreadableCheckpointError: the state is damaged; this object cannot be used any more.
        """
        state = self.checkpoints.load(self.device) if self.checkpoints else None
        if state is None:
            return None
        try:
            self._restore(state)
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise UnreadableCheckpointError(f"not a checkpoint of this run: {error!r}") from error
        return self.run_info.step

    def _restore(self, state: dict[str, Any]) -> None:
        missing, unknown = self.method.load_state_dict(state["method"], strict=False)
        if unknown or set(missing) & self._method_state().keys():
            raise KeyError(*unknown, *missing)
        self.optimizer.load_state_dict(state["optimizer"])
        checkpoint.restore_random_state(state["random"], self.device)
        self.run_info.generator.set_state(state["generator"].cpu())
        self.run_info.logs.restore(state["logs"])
        self.epoch, self.batch, self.run_info.step, self.stopped = state["position"]
        self.records, self.seconds = state["records"], state["seconds"]
        parts = state["parts"]
        self.chosen = {rule: parts[record] for rule, record in state["chosen"].items()}
        self.passes.counts = state["passes"]
        self.history.resume(state.get("segments"), self.run_info.step)

    # The end

    def _choose_own(self) -> None:
        """Validate and test, once, the weights that exist only now."""
        model = self.method.eval_model()
        val = evaluate.predict(self.method, self.evaluation(self.val_part), {"it": model})["it"]
        parts = {"val": val, **self._tested(model)}
        self.chosen[OWN] = {
            "record": len(self.records),
            "weights": self.weights(),
            "predictions": {part: predictions.state() for part, predictions in parts.items()},
        }

    def _outcome(self) -> Outcome:
        rules, predictions = outcome.measured(
            self.chosen,
            self.records,
            lambda kept: outcome.scores_of(
                kept,
                self.method,
                self.model,
                train=lambda model: self.evaluation(self.train_part, model),
                target=lambda model: self.evaluation(self.target_part, model),
            ),
            {s.id: s.group for part in (self.val_part, self.target_part) for s in part.samples},
        )
        return Outcome(
            rules=rules,
            predictions=predictions,
            records=self.records,
            weights={rule: kept["weights"] for rule, kept in self.chosen.items()},
            state=self.method.prediction_state(),
            shapes=self.shapes,
            summary=self.method.summary(),
            classes=self.classes,
            left_out=self.left_out,
            duplicates=self.duplicates,
            parameters=sum(p.numel() for p in trained(self.model).values()),
            passes=self.passes.mean(),
            seconds=self.seconds + time.monotonic() - self.started,
            peak_memory_mb=provenance.peak_memory_mb(self.device),
            segments=self.history.until(self.run_info.step),
        )
