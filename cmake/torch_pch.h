// The one precompiled header of the targets that use LibTorch: the narrow headers that most of their files need anyway.
// It is for speed only; every file includes what it uses.
#pragma once

#include "core_pch.h"
static_assert(FMT_VERSION == LRA_FMT_VERSION,
              "torch's bundled fmt shadows the project's: see -idirafter in cmake/FindLibTorch.cmake");

#include <ATen/ATen.h>
#include <torch/autograd.h>
#include <torch/nn/functional/activation.h>
#include <torch/nn/module.h>
#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>
#include <torch/optim/optimizer.h>
