// Weights into and out of a model's host memory: first values, Hugging Face folders, gradients as one file.
#pragma once

#include <filesystem>
#include <string>

#include "model/hf_folder_writer.h"
#include "streaming/model_memory.h"
#include "streaming/run_plan.h"
#include "streaming/step_engine.h"
#include "streaming/weight_loader.h"

namespace penstock {

// Values of a model trained from scratch; moments zero. The same for every thread count.
void initialize_weights(ModelMemory& memory, uint64_t seed, WorkerTeam& team);

// bfloat16 writes the wire weights as they stream; float32 the masters. Where there is no state (evaluation, a frozen
// tensor) `exact` has only wire weights, and float32 then holds those, widened.
void export_model(const ModelMemory& memory, const std::string& folder, const ModelFolderSettings& settings);

// Every gradient (of what is trained) of the engine's last training step in fp32 under Hugging Face names, in one
// safetensors file. The engine's plan must carry fp32 gradients (no wire cast).
void write_gradients(StepEngine& engine, const std::string& path);

}  // namespace penstock
