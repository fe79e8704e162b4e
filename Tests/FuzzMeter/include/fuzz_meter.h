#pragma once

/* The most memory that was allocated at once since `begin`, in bytes; 0 where nothing counts it: in builds without
   libFuzzer (Scripts/fuzz.sh builds with it). */
void fuzz_meter_begin(void);
long fuzz_meter_peak(void);
