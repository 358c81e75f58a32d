#pragma once

#include <ATen/core/Generator.h>
#include <c10/core/Device.h>

#include <cstdint>
#include <string>

namespace lra {

/// `name` is auto (the accelerator if there is one, else the CPU), cpu, cuda or cuda:N. Throws Error for anything else
/// and for a device that is not available. This unit is the only place that tells devices apart.
at::Device select_device(const std::string& name);

/// Waits until everything queued on the device is done.
void synchronize(at::Device device);

/// Bytes requested by live tensors on the device, and the most since `reset_peak_tensor_bytes`.
std::int64_t current_tensor_bytes(at::Device device);
std::int64_t peak_tensor_bytes(at::Device device);
void reset_peak_tensor_bytes(at::Device device);

/// The generator behind dropout on the device.
at::Generator default_generator(at::Device device);

/// "cpu", "cuda:0 (NVIDIA H200)"; the model where the driver tells it.
std::string device_name(at::Device device);

/// CPU threads of LibTorch. Returns how many really work: OpenMP may give fewer than asked for (OMP_THREAD_LIMIT).
int set_threads(int threads);

}  // namespace lra
