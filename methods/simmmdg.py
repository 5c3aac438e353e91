"""SimMMDG: modality-shared and modality-specific features, and translation between modalities.

Dong, Nejjar, Sun, Chatzi and Fink, SimMMDG: A Simple and Effective Framework for Multi-modal Domain
Generalization, NeurIPS 2023.

    z_k = [z_k^sh; z_k^sp], two halves;  n(·) scales to length 1
    L = CE(f, y) + α_t mean_{a≠b} ‖n(T_ab z_a) - n(z_b)‖₂
      + α_c τ/0.07 SupCon({P_k(z_k^sh)}_k, y; τ) - α_e mean_k MSE(n(z_k^sh), n(z_k^sp))

P_k and T_ab are three-layer networks. The targets z_b of translation have a gradient. Ours against
the public code (donghao51/SimMMDG, and its ports in MMDG_Benchmark):
- The distance of the halves is taken of normalised halves, as in MMDG_Benchmark's port for HUST
  motor: it then lies in [-4/⌈D/2⌉, 0]. The official code takes raw halves, which are pushed apart
  without bound; `explore_halves=raw` does so, and `--protocol reference` with it.
- The official contrast has the factor temperature/0.07, 1.43, and so has ours; that port leaves it
  out, so that its weight of 3 is 2.1 here.
- Networks are as wide as the widest embedding instead of 2048, which is meant for embeddings of
  512 to 2304 values.
- An odd D_k has a middle value in both halves. With one modality nothing is shared: ERM.
- A modality that is missing in prediction is masked, as for every method; the paper also fills it
  in with the mean translation of the others.
- No epochs of its own for each target, with which the official numbers were made.
"""

from torch import Tensor
from torch.nn import functional as F

from methods import register
from methods.base import FUSED, Batch, Method, Model, Run
from methods.published import PublishedScript
from methods.shared import decomposition


@register("simmmdg")
class SimMMDG(Method):
    """ERM with contrast of shared halves, distance to specific halves, and translation."""

    family = "MMDG"
    paper = "Dong et al., NeurIPS 2023"
    Hyperparameters = decomposition.Hyperparameters
    published = PublishedScript(settings={"simmmdg": {"hidden": 2048, "explore_halves": "raw"}})

    def setup(self, model: Model, run: Run) -> None:
        """Create projections and translators."""
        super().setup(model, run)
        self.decomposition = decomposition.Decomposition(model.dims, self.hp)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return CE(f, y), translation, contrast and the distance of the halves."""
        embeddings = self.model.embed(batch.features)
        fused = F.cross_entropy(self.model.fuse(embeddings), batch.labels)
        return {FUSED: fused, **self.decomposition.terms(embeddings, batch.labels)}
