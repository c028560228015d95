/* SPDX-License-Identifier: Apache-2.0
 * Run by CMake with two processes: they write one dataset together, each its half, and read the other half back. */
#include <hdf5.h>
#include <mpi.h>
#include <stdio.h>

enum { kHalf = 1000 };

static int fail(const char* what) {
  fprintf(stderr, "%s failed\n", what);
  MPI_Abort(MPI_COMM_WORLD, 1);
  return 1;
}

/* Selects one half of the dataset in the file. */
static hid_t half_of(hid_t dataset, int half) {
  hsize_t first = (hsize_t)half * kHalf, count = kHalf;
  hid_t space = H5Dget_space(dataset);
  H5Sselect_hyperslab(space, H5S_SELECT_SET, &first, NULL, &count, NULL);
  return space;
}

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank = 0, size = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  if (argc != 2 || size != 2) return fail("starting two processes that know each other");

  hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  if (H5Pset_fapl_mpio(access, MPI_COMM_WORLD, MPI_INFO_NULL) < 0) return fail("H5Pset_fapl_mpio");
  hid_t file = H5Fcreate(argv[1], H5F_ACC_TRUNC, H5P_DEFAULT, access);
  if (file < 0) return fail("H5Fcreate");
  hsize_t extent = 2 * kHalf, chunk = 300, count = kHalf;
  hid_t space = H5Screate_simple(1, &extent, NULL), memory = H5Screate_simple(1, &count, NULL);
  hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_chunk(creation, 1, &chunk);
  H5Pset_fletcher32(creation); /* filters need collective writes: what checkpoints rely on */
  hid_t dataset = H5Dcreate2(file, "numbers", H5T_NATIVE_INT, space, H5P_DEFAULT, creation, H5P_DEFAULT);
  hid_t collective = H5Pcreate(H5P_DATASET_XFER);
  H5Pset_dxpl_mpio(collective, H5FD_MPIO_COLLECTIVE);

  int numbers[kHalf];
  for (int i = 0; i < kHalf; ++i) numbers[i] = rank * kHalf + i;
  if (H5Dwrite(dataset, H5T_NATIVE_INT, memory, half_of(dataset, rank), collective, numbers) < 0) return fail("H5Dwrite");
  H5Fflush(file, H5F_SCOPE_GLOBAL);
  if (H5Dread(dataset, H5T_NATIVE_INT, memory, half_of(dataset, 1 - rank), collective, numbers) < 0) return fail("H5Dread");
  for (int i = 0; i < kHalf; ++i) {
    if (numbers[i] != (1 - rank) * kHalf + i) return fail("reading what the other process wrote");
  }
  if (H5Dclose(dataset) < 0 || H5Fclose(file) < 0) return fail("H5Fclose");
  MPI_Finalize();
  return 0;
}
