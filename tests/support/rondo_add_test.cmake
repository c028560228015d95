# SPDX-License-Identifier: Apache-2.0
# rondo_add_test(NAME SOURCES file... [RANKS n] [LABELS label...] [LAYERS layer...] [LINKS library...] [TIMEOUT s] [SANITIZE | SANITIZE_ONLY] [GPU] [ISA])
#
# Makes the GoogleTest program NAME and the ctest entry of the same name. Its label is `mpi` with RANKS and `unit` without, unless
# LABELS says otherwise: `unit` starts no MPI and takes less than half a minute in all, `slow` is of one process and takes longer.
#   RANKS     starts so many ranks (jobs/launch.sh), label ranks_<n>; tests/support/mpi_main.cpp is its main
#   LAYERS    the layers whose headers it may include; all if not given
#   LINKS     further libraries, e.g. HDF5::HDF5
#   TIMEOUT   seconds until a test counts as hanging, 600 if not given; six times as many under a sanitizer. A busy machine may take
#             long: no limit judges speed
#   SANITIZE  also runs under the sanitizers: label `sanitize`, built by the target rondo_sanitize_tests
#   SANITIZE_ONLY  the same, and in no other build: the program of another test on fewer ranks, which that one has too
#   GPU       has cases for a GPU, which are skipped where there is none: goes into the bundle for jobs/gpu-check.sh
#   ISA       depends on the instruction set of the CPU: also runs once for each level below the machine's, label `isa`, as
#             name_LEVEL_test; rondo_add_isa_levels(name command...) does the same for any other test

# The layers see the test only through librondo and their headers; tests/support is included from the root.
add_library(rondo_mpi_main STATIC EXCLUDE_FROM_ALL ${CMAKE_CURRENT_LIST_DIR}/mpi_main.cpp ${CMAKE_CURRENT_LIST_DIR}/rank_listener.cpp)
target_include_directories(rondo_mpi_main PRIVATE ${CMAKE_SOURCE_DIR})
target_link_libraries(rondo_mpi_main PUBLIC GTest::gtest MPI::MPI_CXX)
rondo_warnings(rondo_mpi_main)

add_custom_target(rondo_sanitize_tests)

# Support for RONDO_MAX_CPU_ISA, which limits the instruction set, in test programs, and the launcher of a test under such a limit.
add_library(rondo_isa_limit OBJECT EXCLUDE_FROM_ALL ${CMAKE_CURRENT_LIST_DIR}/isa_limit.cpp)
target_link_libraries(rondo_isa_limit PRIVATE rondo_headers_cpu)
rondo_warnings(rondo_isa_limit)
add_executable(rondo_at_isa ${CMAKE_CURRENT_LIST_DIR}/at_isa.cpp)
set_target_properties(rondo_at_isa PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
target_link_libraries(rondo_at_isa PRIVATE rondo_isa_limit rondo_headers_cpu rondo)
rondo_warnings(rondo_at_isa)

# The environment of a test program: one thread per rank, suppressions of the sanitizers.
function(rondo_test_environment name ranks)
  set(support ${CMAKE_SOURCE_DIR}/tests/support)
  set(environment
    "LSAN_OPTIONS=suppressions=${support}/leaks.supp:print_suppressions=0"
    "TSAN_OPTIONS=suppressions=${support}/threads.supp:ignore_noninstrumented_modules=1"
    UBSAN_OPTIONS=print_stacktrace=1 GTEST_COLOR=no)
  if(ranks)
    # Open MPI unloads plugins, whose allocations then look like leaks; only tests of one process check for leaks.
    list(APPEND environment ASAN_OPTIONS=detect_leaks=0)
    list(APPEND environment OMP_NUM_THREADS=1)
  elseif(RONDO_SANITIZE MATCHES thread)
    list(APPEND environment OMP_NUM_THREADS=1)  # libgomp is not instrumented: its barriers look like races
  endif()
  set_property(TEST ${name} APPEND PROPERTY ENVIRONMENT "${environment}")
endfunction()

# Adds the test `name`, whose properties are complete, once more for each instruction set below AMX. At run time it is skipped if
# the machine is not above that level.
function(rondo_add_isa_levels name)
  foreach(level portable avx2 avx512)
    set(at_level ${name}_${level})
    if(name MATCHES "^(.*)_test$")
      set(at_level ${CMAKE_MATCH_1}_${level}_test)
    endif()
    add_test(NAME ${at_level} COMMAND rondo_at_isa ${level} ${ARGN})
    foreach(property PROCESSORS TIMEOUT ENVIRONMENT)
      get_test_property(${name} ${property} value)
      if(value)
        set_property(TEST ${at_level} PROPERTY ${property} "${value}")
      endif()
    endforeach()
    set_tests_properties(${at_level} PROPERTIES LABELS isa SKIP_RETURN_CODE 77)
  endforeach()
endfunction()

function(rondo_add_test name)
  cmake_parse_arguments(TEST "SANITIZE;SANITIZE_ONLY;GPU;ISA" "RANKS;TIMEOUT" "SOURCES;LABELS;LAYERS;LINKS" ${ARGN})
  if(TEST_UNPARSED_ARGUMENTS OR NOT TEST_SOURCES)
    message(FATAL_ERROR "rondo_add_test(${name}): no SOURCES, or unknown arguments: ${TEST_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT TEST_LAYERS)
    get_property(TEST_LAYERS GLOBAL PROPERTY RONDO_LAYERS)
  endif()
  if(TEST_SANITIZE_ONLY)
    if(NOT RONDO_SANITIZE)
      return()
    endif()
    set(TEST_SANITIZE ON)
  endif()
  if(NOT TEST_LABELS AND TEST_RANKS)
    set(TEST_LABELS mpi)
  elseif(NOT TEST_LABELS)
    set(TEST_LABELS unit)
  endif()
  if(NOT TEST_TIMEOUT)
    set(TEST_TIMEOUT 600)
  endif()
  if(RONDO_SANITIZE)
    math(EXPR TEST_TIMEOUT "6 * ${TEST_TIMEOUT}")
  endif()

  add_executable(${name} ${TEST_SOURCES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
  foreach(layer ${TEST_LAYERS})
    target_link_libraries(${name} PRIVATE rondo_headers_${layer})
  endforeach()
  target_link_libraries(${name} PRIVATE rondo rondo_isa_limit GTest::gmock spdlog::spdlog ${TEST_LINKS})
  target_compile_options(${name} PRIVATE $<$<CONFIG:Release>:-Og>)  # compiling takes longer than running
  rondo_warnings(${name})

  if(TEST_RANKS)
    target_link_libraries(${name} PRIVATE rondo_mpi_main)
    set(command ${CMAKE_SOURCE_DIR}/jobs/launch.sh --mpiexec ${MPIEXEC_EXECUTABLE} -n ${TEST_RANKS} $<TARGET_FILE:${name}>)
    add_test(NAME ${name} COMMAND ${command})
    set_tests_properties(${name} PROPERTIES PROCESSORS ${TEST_RANKS})
    list(APPEND TEST_LABELS ranks_${TEST_RANKS})
  else()
    target_link_libraries(${name} PRIVATE GTest::gtest_main)
    set(command $<TARGET_FILE:${name}>)
    add_test(NAME ${name} COMMAND ${command})
  endif()
  if(TEST_SANITIZE)
    list(APPEND TEST_LABELS sanitize)
    add_dependencies(rondo_sanitize_tests ${name})
  endif()
  if(TEST_GPU)
    if(NOT TEST_RANKS)
      set(TEST_RANKS 0)
    endif()
    set_property(GLOBAL APPEND PROPERTY RONDO_GPU_TESTS "${name} ${TEST_RANKS}")
  endif()
  set_tests_properties(${name} PROPERTIES LABELS "${TEST_LABELS}" TIMEOUT ${TEST_TIMEOUT})
  rondo_test_environment(${name} "${TEST_RANKS}")
  if(TEST_ISA)
    rondo_add_isa_levels(${name} ${command})
  endif()
endfunction()
