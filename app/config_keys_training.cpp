// The section `training` of the key table.
#include <iterator>
#include <utility>

#include "app/config_keys_row.h"

namespace penstock {

namespace {

#define FIELD(path) PENSTOCK_CONFIG_FIELD(path)

std::vector<Row> training_length_rows() {
  return {
      whole("per_device_train_batch_size", FIELD(training.per_device_train_batch_size))
          .range(1, 65536)
          .unit("rows")
          .means(kYes, "rows of a micro-batch"),
      whole("gradient_accumulation_steps", FIELD(training.gradient_accumulation_steps))
          .range(1, 65536)
          .unit("micro-batches")
          .means(kYes, "micro-batches per step; nearly free here, because weights cross the link once per step"),
      whole("tokens_per_step", FIELD(training.tokens_per_step))
          .range(1, kMostCount)
          .unset("null")
          .unit("tokens")
          .means(kYes, "instead of gradient_accumulation_steps; a multiple of the tokens of a micro-batch"),
      whole("max_steps", FIELD(training.max_steps))
          .range(1, kMostCount)
          .unset("null")
          .unit("steps")
          .means(kYes, "the run ends after so many steps"),
      number("num_train_epochs", FIELD(training.num_train_epochs))
          .above(0, 1e6)
          .unset("null")
          .shown("1 if `max_steps` and `max_tokens` are unset")
          .means(kYes, "the run ends after so many passes over the data"),
      whole("max_tokens", FIELD(training.max_tokens))
          .range(1, kMostCount)
          .unset("null")
          .unit("tokens")
          .means(kYes, "the run ends after so many tokens; of several limits the first that is reached counts"),
  };
}

std::vector<Row> training_tensor_rows() {
  return {
      choice("finetuning_type", FIELD(training.finetuning_type))
          .choices({"full", "freeze"})
          .means(kYes, "full: all tensors are trained, or those of `trainable`; freeze: only some blocks are"),
      whole("freeze_trainable_layers", FIELD(training.freeze_trainable_layers))
          .range(-10000, 10000)
          .unset("null")
          .unit("blocks")
          .shown("2 with `finetuning_type: freeze`")
          .means(kYes, "with `finetuning_type: freeze`: the last so many blocks are trained, below 0 the first"),
      texts("trainable", FIELD(training.trainable))
          .shown("all tensors")
          .means(kYes,
                 "patterns over tensor names (`*`, `?`), e.g. `model.layers.3?.*`; the rest is frozen: 2 B per "
                 "parameter, no state, no update"),
  };
}

std::vector<Row> training_rate_rows() {
  return {
      number("learning_rate", FIELD(training.learning_rate)).range(0, 1).means(kYes, "highest learning rate"),
      number("min_learning_rate", FIELD(training.min_learning_rate))
          .range(0, 1)
          .means(kYes, "learning rate at the end of linear, cosine and wsd"),
      choice("lr_scheduler_type", FIELD(training.lr_scheduler_type))
          .choices({"constant", "linear", "cosine", "wsd"})
          .means(kYes, "course of the learning rate after warm-up; wsd is flat, then falls linearly"),
      whole("warmup_steps", FIELD(training.warmup_steps))
          .range(0, kMostCount)
          .unset("auto")
          .unit("steps")
          .means(kYes, "steps of linear warm-up; auto: `warmup_ratio` of all steps"),
      number("warmup_ratio", FIELD(training.warmup_ratio))
          .range(0, 1)
          .means(kYes, "share of all steps that warms up, where warmup_steps is auto"),
      whole("decay_steps", FIELD(training.decay_steps))
          .range(0, kMostCount)
          .unset("auto")
          .unit("steps")
          .means(kYes, "wsd only: steps of the final fall; auto: a tenth of all steps"),
      number("weight_decay", FIELD(training.weight_decay))
          .range(0, 1)
          .shown("0.1; 0 when fine-tuning")
          .means(kYes, "decoupled weight decay; norms do not decay"),
      number("max_grad_norm", FIELD(training.max_grad_norm))
          .range(0, 1e6)
          .means(kYes, "gradients are scaled down to this global norm; 0: no clipping"),
      whole("seed", FIELD(training.seed)).range(0, kMostSeed).means(kYes, "of the first weights and the data order"),
  };
}

std::vector<Row> training_saving_rows() {
  return {
      text("output_dir", FIELD(training.output_dir))
          .shown("runs/&lt;config&gt;-&lt;n&gt;")
          .means(kNo, "run directory; one that holds a run already is never overwritten silently"),
      truth("overwrite_output_dir", FIELD(training.overwrite_output_dir))
          .means(kNo, "replace the run that output_dir holds"),
      choice("save_strategy", FIELD(training.save_strategy))
          .choices({"no", "steps", "epoch"})
          .means(kNo, "when checkpoints are written; steps and epoch also write one at the end, no writes none"),
      whole("save_steps", FIELD(training.save_steps))
          .range(1, kMostCount)
          .unit("steps")
          .means(kNo, "distance of two checkpoints with `save_strategy: steps`"),
      whole("save_total_limit", FIELD(training.save_total_limit))
          .range(0, kMostCount)
          .means(kNo, "checkpoints that are kept, the newest ones; 0: all"),
      whole("eval_steps", FIELD(training.eval_steps))
          .range(0, kMostCount)
          .unit("steps")
          .means(kNo, "distance of two evaluations; 0: only at the end"),
      whole("max_eval_tokens", FIELD(training.max_eval_tokens))
          .range(0, kMostCount)
          .unit("tokens")
          .means(kNo, "an evaluation ends after so many tokens; 0: all"),
      text("resume_from_checkpoint", FIELD(training.resume_from_checkpoint))
          .means(kNo, "auto: the newest valid checkpoint of output_dir; or a path; empty: start afresh"),
  };
}

}  // namespace

std::vector<Row> training_rows() {
  std::vector<Row> rows;
  for (std::vector<Row> part :
       {training_length_rows(), training_tensor_rows(), training_rate_rows(), training_saving_rows()}) {
    std::move(part.begin(), part.end(), std::back_inserter(rows));
  }
  return rows;
}

#undef FIELD

}  // namespace penstock
