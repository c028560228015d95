# SPDX-License-Identifier: Apache-2.0
# Is the HDF5 that was found parallel, new enough, and built with the MPI that was found? Two processes write one
# dataset together to prove it; the answer is kept in the cache for this pair of libraries.

option(RONDO_CHECK_HDF5 "Prove at configure time that two processes can write HDF5 collectively" ON)

# rondo_mpi_needed(LIBRARY VARIABLE): the MPI library that a shared library asks the loader for, e.g. libmpi.so.40.
function(rondo_mpi_needed library variable)
  execute_process(COMMAND ${CMAKE_READELF} -d ${library} OUTPUT_VARIABLE dynamic ERROR_QUIET)
  string(REGEX MATCH "NEEDED[^\n]*\\[(libmpi[^]\n]*)\\]" line "${dynamic}")
  set(${variable} "${CMAKE_MATCH_1}" PARENT_SCOPE)
endfunction()

function(rondo_soname library variable)
  execute_process(COMMAND ${CMAKE_READELF} -d ${library} OUTPUT_VARIABLE dynamic ERROR_QUIET)
  string(REGEX MATCH "SONAME[^\n]*\\[([^]\n]*)\\]" line "${dynamic}")
  set(${variable} "${CMAKE_MATCH_1}" PARENT_SCOPE)
endfunction()

# The first of a list of libraries whose file name begins with lib<stem>.
function(rondo_pick_library stem variable)
  set(${variable} "" PARENT_SCOPE)
  foreach(library ${ARGN})
    get_filename_component(file ${library} NAME)
    if(file MATCHES "^lib${stem}")
      set(${variable} ${library} PARENT_SCOPE)
      return()
    endif()
  endforeach()
endfunction()

# Sets VARIABLE to the reason for which HDF5 is refused, naming the HDF5 and the MPI, or to nothing.
function(rondo_check_parallel_hdf5 variable)
  rondo_pick_library(hdf5 hdf5 ${HDF5_C_LIBRARIES})
  rondo_pick_library(mpi mpi ${MPI_C_LIBRARIES})
  execute_process(COMMAND ${MPIEXEC_EXECUTABLE} --version OUTPUT_VARIABLE launcher ERROR_QUIET)
  string(REGEX MATCH "^[^\n]*" launcher "${launcher}")
  set(both "HDF5 ${HDF5_VERSION} (${hdf5}) and ${launcher} (${mpi})")
  set(${variable} "" PARENT_SCOPE)
  if(NOT HDF5_IS_PARALLEL)
    set(${variable} "a parallel HDF5 in place of the serial one: ${both}" PARENT_SCOPE)
    return()
  endif()
  if(HDF5_VERSION VERSION_LESS 1.10.2)
    set(${variable} "HDF5 1.10.2 or newer in place of ${both}" PARENT_SCOPE)
    return()
  endif()
  rondo_mpi_needed("${hdf5}" built_with)
  rondo_soname("${mpi}" found)
  if(built_with AND found AND NOT built_with STREQUAL found)
    set(${variable} "an HDF5 built with ${found}; this one was built with ${built_with}: ${both}" PARENT_SCOPE)
    return()
  endif()
  if(NOT RONDO_CHECK_HDF5 OR RONDO_HDF5_PROVEN STREQUAL both)
    return()
  endif()
  rondo_write_collectively(failure)
  if(failure)
    set(${variable} "${both}, which cannot write a file together (-DRONDO_CHECK_HDF5=OFF skips this check): ${failure}"
      PARENT_SCOPE)
    return()
  endif()
  message(STATUS "Two processes wrote together: ${both}")
  set(RONDO_HDF5_PROVEN "${both}" CACHE INTERNAL "The HDF5 and MPI with which a collective write worked")
endfunction()

# Builds and runs the 2-process write; VARIABLE is empty when it worked.
function(rondo_write_collectively variable)
  set(folder ${CMAKE_BINARY_DIR}/parallel_hdf5)
  file(MAKE_DIRECTORY ${folder})
  try_compile(compiled ${folder} SOURCES ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/../../tests/configure/parallel_hdf5.c
    LINK_LIBRARIES HDF5::HDF5 MPI::MPI_C OUTPUT_VARIABLE output COPY_FILE ${folder}/parallel_hdf5)
  if(NOT compiled)
    set(${variable} "it does not compile\n${output}" PARENT_SCOPE)
    return()
  endif()
  execute_process(
    COMMAND ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/../launch.sh --mpiexec ${MPIEXEC_EXECUTABLE} -n 2 ${folder}/parallel_hdf5
      ${folder}/written.h5
    RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output TIMEOUT 60)
  if(status EQUAL 0)
    set(${variable} "" PARENT_SCOPE)
  else()
    set(${variable} "it ended with ${status}\n${output}" PARENT_SCOPE)
  endif()
endfunction()
