# SPDX-License-Identifier: Apache-2.0
# Gives the HDF5 check empty libraries that look serial, old, or built with another MPI, and reads why it refuses them.
cmake_minimum_required(VERSION 3.25)
include(${CHECK})

file(REMOVE_RECURSE ${FOLDER})
file(MAKE_DIRECTORY ${FOLDER})
file(WRITE ${FOLDER}/empty.c "int rondo_empty;\n")
function(fake_library file soname)
  execute_process(COMMAND ${CC} -shared -fPIC -Wl,--no-as-needed -Wl,-soname,${soname} -o ${FOLDER}/${file} ${FOLDER}/empty.c ${ARGN}
    COMMAND_ERROR_IS_FATAL ANY)
endfunction()
fake_library(libmpi.so libmpi.so.40)
fake_library(libmpich.so libmpich.so.12)
fake_library(libhdf5.so libhdf5.so.103 ${FOLDER}/libmpich.so)

set(HDF5_C_LIBRARIES ${FOLDER}/libhdf5.so)
set(MPI_C_LIBRARIES ${FOLDER}/libmpi.so)
set(MPIEXEC_EXECUTABLE ${CMAKE_COMMAND})

# refused(PARALLEL VERSION word...): the check must refuse this HDF5 in words that hold all of these.
function(refused parallel version)
  set(HDF5_IS_PARALLEL ${parallel})
  set(HDF5_VERSION ${version})
  rondo_check_parallel_hdf5(reason)
  foreach(word ${ARGN} ${FOLDER}/libhdf5.so ${FOLDER}/libmpi.so)
    string(FIND "${reason}" "${word}" at)
    if(at EQUAL -1)
      message(FATAL_ERROR "HDF5 parallel=${parallel} ${version}: the reason does not say '${word}': '${reason}'")
    endif()
  endforeach()
endfunction()
refused(OFF 1.10.8 "serial")
refused(ON 1.10.1 "1.10.2 or newer")
refused(ON 1.10.8 libmpi.so.40 libmpich.so.12)
