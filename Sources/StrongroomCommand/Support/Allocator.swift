// Linked in place of the C library's: SoftHSM allocates some hundred objects a call, and takes a quarter less time with
// it (docs/decisions/0030).
#if canImport(CJemalloc)
  import CJemalloc
#endif
