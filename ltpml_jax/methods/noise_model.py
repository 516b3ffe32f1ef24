"""Maximum likelihood under an explicit model of how labels came to be: forward correction, general over label states.

Every class j has a table of P(state | present) and P(state | absent) over the four label states; the network gives
P(present | x) = p = sigmoid(z). The loss is the exact negative log-likelihood of the states that were observed,

    -log(P(state | present) p + P(state | absent) (1 - p)),        gradient in z:  p - t,

with t = P(present | state, x), which is that of a binary cross-entropy to t held constant: EM with an E-step in every
step (Patrini et al., CVPR 2017, "forward"; Natarajan et al., NeurIPS 2013). Kinds of noise are rows of the table:

    LT-PML               P(candidate | present) = 1 - P(positive | present),  P(candidate | absent) = q
    known labels         P(positive | absent) = P(negative | present) = 0: certain
    missing positives    P(unknown | present) = r,  P(unknown | absent) = the share of absent labels not annotated

What identifies the rates. q: column sums and the long tail, or known positives beside candidates (methods/priors.py),
one q for all classes. The number of positives n_j: the column sum given q. r: the labels of a class say nothing of it,
as any r in [0, 1) fits equally well with n_j / (1 - r) positives. A class that has known negatives is assumed to lack
labels at random, so that its unknown ones say nothing. Of classes without any, the share of images without a positive
identifies r if every image has one at least and a Poisson number of others (`priors.estimate_missing_rate`), else r
must be given; beside candidates it is taken for 0. Rates by class q_j: not identified beside n_j by column sums, nor by
a network that is free to fit p; one q is assumed, and where rarer classes have more false candidates, their n_j come
out too large. That states depend on the class and not on the image is assumed throughout.
"""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from ltpml_jax.methods import losses
from ltpml_jax.methods.base import Blocks, Context, Forward, Method, Pass, Plan
from ltpml_jax.methods.branch import FixedBranch, Offset
from ltpml_jax.methods.label_states import LabelState
from ltpml_jax.methods.priors import Prior, missing_rates
from ltpml_jax.methods.settings import BELOW_ONE, SHARE, Used, between, one_of

GIVEN = Used("rates", ("given",))


class NoiseSettings(NamedTuple):
    """Settings of the noise model."""

    rates: Annotated[str, one_of("estimated", "given"), "q and r by counts of labels, or the next two"] = "estimated"
    flip_rate: Annotated[float, BELOW_ONE, "given: q, probability that an absent class is a candidate", GIVEN] = 0.0
    missing_rate: Annotated[float, BELOW_ONE, "given: r, probability that a present class is unknown", GIVEN] = 0.0
    weight_exponent: Annotated[float, between(0, 1), "a: classes weigh (N / n_j)^a over its mean"] = 0.0
    branch: Annotated[float, SHARE, "share of the branch on untrained features in the prediction; 0: none"] = 0.5
    branch_dropout: Annotated[float, BELOW_ONE, "dropout of the features of that branch"] = 0.5


class LabelModel(NamedTuple):
    """frequency [C]: P(present); log_probability [2, 4, C]: log P(state | absent), then present; weight [C]: mean 1."""

    frequency: jax.Array
    log_probability: jax.Array
    weight: jax.Array


def label_model(prior: Prior, settings: NoiseSettings) -> LabelModel:
    """The model of the labels that a prior and the settings give.

    Counts are kept above their standard error, where there are as many candidates, and within [1, N - 1]; states that
    were observed keep a probability of 1 / N or more where the model says that they can be.
    """
    size, seen, q = (jnp.asarray(leaf) for leaf in (prior.train_size, prior.class_count, prior.flip_rate))
    states = jnp.zeros((4, *seen.shape)) if prior.state_count is None else jnp.asarray(prior.state_count)
    r, plain, error = missing_rates(prior), prior.state_count is None, jnp.asarray(prior.count_error)
    if settings.rates == "given":
        named = states[LabelState.POSITIVE] + states[LabelState.CANDIDATE]
        columns = seen * (1 - q) + q * size if plain else named
        q = jnp.asarray(settings.flip_rate, seen.dtype)
        r = jnp.where(states[LabelState.UNKNOWN] > 0, settings.missing_rate, jnp.zeros_like(seen))
        # Of n (1 - r) + q (size - n) labels that were given, n (1 - r) are of positives.
        seen = jnp.where(prior.true_counts, seen, (columns - q * size) * (1 - r) / (1 - q - r))
        error = jnp.where(prior.true_counts, error, jnp.sqrt(size * q / (1 - q)))
    error = error if plain else jnp.minimum(error, states[LabelState.CANDIDATE])
    hidden = jnp.where(prior.true_counts, 0.0, r)
    count = jnp.clip(jnp.maximum(seen, error) / (1 - hidden), jnp.minimum(1, size / 2), jnp.maximum(size - 1, size / 2))
    weight = (size / count) ** settings.weight_exponent
    table = _probabilities(states, count, q, r, size)
    return LabelModel(count / size, jnp.log(table), weight / weight.mean())


def _probabilities(states: jax.Array, count: jax.Array, q: jax.Array, r: jax.Array, size: jax.Array) -> jax.Array:
    """P(state | absent) and P(state | present), [2, 4, C]; `states` [4, C]: how many labels have each state."""
    least, zero = 1 / size, jnp.zeros_like(count)
    positive = jnp.clip(states[LabelState.POSITIVE] / count, 0, 1 - r)
    unknown = jnp.clip((states[LabelState.UNKNOWN] - r * count) / (size - count), 0, 1 - q)
    present = [zero, jnp.maximum(positive, least), jnp.maximum(1 - r - positive, least), r]
    absent = [jnp.maximum(1 - q - unknown, least), zero, zero + q, jnp.maximum(unknown, least)]
    return jnp.stack([jnp.stack(absent), jnp.stack(present)])


def _of_states(model: LabelModel, states: jax.Array) -> jax.Array:
    """Log P(observed state | absent), then present, [2, B, C]."""
    return model.log_probability[:, states.astype(jnp.int32), jnp.arange(states.shape[1])[None]]


def negative_log_likelihood(logits: jax.Array, states: jax.Array, model: LabelModel) -> jax.Array:
    """-log P(state | x) [B, C], of logits [B, C] of P(present | x), and states int8 [B, C] of LabelState."""
    logits = losses.wide(logits)
    absent, present = _of_states(model, states)
    return -jnp.logaddexp(present + jax.nn.log_sigmoid(logits), absent + jax.nn.log_sigmoid(-logits))


def posterior(logits: jax.Array, states: jax.Array, model: LabelModel) -> jax.Array:
    """P(present | state, x) [B, C]; arguments as of `negative_log_likelihood`."""
    absent, present = _of_states(model, states)
    return jax.nn.sigmoid(logits + present - absent)


def logit(probability: jax.Array) -> jax.Array:
    """The inverse of the sigmoid."""
    return jnp.log(probability) - jnp.log1p(-probability)


def predictions(share: float) -> dict[str, Callable[[Any], jax.Array]]:
    """By name, what the network returns -> logits [B, C]: with a branch the mean first, whose share `share` is."""
    if not share:
        return {"network": lambda logits: logits}
    return {
        "mean": lambda logits: (1 - share) * logits[0] + share * logits[1],
        "trained": lambda logits: logits[0],
        "fixed": lambda logits: logits[1],
    }


def network(blocks: Blocks, settings: NoiseSettings) -> Offset:
    """A classifier, with the branch beside it where the settings want one; logits start at the class frequencies."""
    made = blocks.classifier(0)
    if settings.branch:
        made = FixedBranch(made, blocks.backbone(0), blocks.classes, settings.branch_dropout)
    # Operation by operation it would be thirty small programs, a second of every start.
    offset = jax.jit(lambda prior: logit(label_model(prior, settings).frequency))(blocks.prior)
    return Offset(made, offset)


def noise_model(settings: NoiseSettings, plan: Plan) -> Method:
    """Assemble the method: one pass; it keeps the posterior of every image's last visit, [N, C], as beliefs.

    Classifier and branch learn by their own likelihood each; evaluation and beliefs take the mean of their logits.
    Raises ValueError where the given rates leave no label that says anything.
    """
    if settings.rates == "given" and settings.flip_rate + settings.missing_rate >= 1:
        raise ValueError(
            f"config.noise.flip_rate is {settings.flip_rate:g} and missing_rate {settings.missing_rate:g}; "
            "set them to less than 1 together"
        )
    named = predictions(settings.branch)
    headline = next(iter(named.values()))

    def init(states: jax.Array, prior: Prior):
        model = label_model(prior, settings)
        return model, posterior(logit(model.frequency)[None], states, model)

    def likelihood(forward: Forward, context: Context, carry: None):
        model: LabelModel = context.shared
        outputs, stats = forward(context.images, None, context.keys.dropout)
        found = [negative_log_likelihood(one, context.states, model) for one in jax.tree.leaves(outputs)]
        loss = sum([(each * model.weight[None]).mean() for each in found], start=jnp.zeros(()))
        return loss, (jax.lax.stop_gradient(posterior(headline(outputs), context.states, model)), stats)

    return Method(
        init=init,
        passes=(Pass(likelihood),),
        update=lambda context, belief: (context.shared, belief, {"present": belief.sum(-1).mean()}),
        network=lambda blocks: network(blocks, settings),
        predictions=named,
        beliefs=lambda shared, rows: (rows, (rows > 0.5).astype(rows.dtype)),
    )
