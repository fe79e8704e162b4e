extension [UInt8] {
  /// An array that `fill` writes in place, at most `capacity` bytes.
  package init(capacity: Int, _ fill: (inout OutputSpan<UInt8>) -> Void) {
    self = []
    // Room that is asked for at first (`unsafeUninitializedCapacity`) takes longer: its type is looked up each time.
    // Room for none would be in the one empty array that all threads share, whose count is written then.
    append(addingCapacity: Swift.max(1, capacity), initializingWith: fill)
  }

  /// The same, where writing may fail. Twice, as a generic error would not be specialised in other modules.
  package init(capacity: Int, _ fill: (inout OutputSpan<UInt8>) throws -> Void) throws {
    self = []
    try append(addingCapacity: Swift.max(1, capacity)) { output throws(any Error) in try fill(&output) }
  }

  /// With memory of its own, whose references no other processor counts.
  package func copy() -> [UInt8] { map { $0 } }
}

extension OutputSpan<UInt8> {
  /// Appends all of `bytes`; there must be room for them.
  package mutating func append(copying bytes: [UInt8]) { append(copying: bytes.span) }

  /// The same.
  package mutating func append(copying bytes: Span<UInt8>) {
    precondition(freeCapacity >= bytes.count, "the output is too small")
    unsafe bytes.withUnsafeBufferPointer { source in  // for the call only
      unsafe self.withUnsafeMutableBufferPointer { buffer, count in  // there is room, as was looked
        guard let from = source.baseAddress, let base = buffer.baseAddress else { return }
        unsafe (base + count).initialize(from: from, count: source.count)  // two buffers
        count += source.count
      }
    }
  }
}
