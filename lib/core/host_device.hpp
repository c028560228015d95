// SPDX-License-Identifier: Apache-2.0
// Marks functions of plain data that device code also calls. Only nvcc gives it a meaning.
#pragma once

#ifdef __CUDACC__
#define RONDO_HOST_DEVICE __host__ __device__
#else
#define RONDO_HOST_DEVICE
#endif
