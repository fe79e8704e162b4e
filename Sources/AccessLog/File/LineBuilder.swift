import Glibc

/// Builds one line in memory that is there already, and grows only for a long one.
@safe
struct LineBuilder: ~Copyable {
  private var memory: UnsafeMutableRawBufferPointer
  private var count = 0
  private var isOwn = false

  private init(_ memory: UnsafeMutableRawBufferPointer) { unsafe self.memory = memory }

  deinit { if isOwn { unsafe memory.deallocate() } }  // from `grow`

  /// As many bytes as `room` says, for later, and those that `body` puts down.
  static func line(room: Int, _ body: (inout LineBuilder) -> Void) -> [UInt8] {
    unsafe withUnsafeTemporaryAllocation(byteCount: 1024, alignment: 8) { memory in  // outlives the builder
      var builder = unsafe LineBuilder(memory)  // as above
      unsafe builder.room(room).initializeMemory(as: UInt8.self, repeating: 0, count: room)  // as much as it is
      body(&builder)
      return unsafe [UInt8](builder.memory[..<builder.count])  // copied
    }
  }

  /// A pointer to `size` bytes that are written at once. They count.
  private mutating func room(_ size: Int) -> UnsafeMutableRawPointer {
    if unsafe count + size > memory.count { grow(size) }  // its size only
    defer { count += size }
    return unsafe memory.baseAddress! + count  // never empty; within it, as asked above
  }

  private mutating func grow(_ size: Int) {
    let more = UnsafeMutableRawBufferPointer.allocate(byteCount: 2 * (count + size), alignment: 8)
    unsafe more.copyMemory(from: UnsafeRawBufferPointer(rebasing: memory[..<count]))  // it has twice the room
    if isOwn { unsafe memory.deallocate() }  // from the last time
    unsafe (memory, isOwn) = (more, true)  // freed by `deinit`
  }

  mutating func put(_ text: StaticString) {
    let size = text.utf8CodeUnitCount
    unsafe room(size).copyMemory(from: text.utf8Start, byteCount: size)  // as long as it says
  }

  mutating func put(_ bytes: Span<UInt8>) {
    unsafe bytes.withUnsafeBufferPointer { bytes in  // for the call only
      if let base = bytes.baseAddress { unsafe room(bytes.count).copyMemory(from: base, byteCount: bytes.count) }
    }
  }

  /// In quotes, cut to `limit` bytes, as ``Swift/Array/append(jsonString:limit:)`` has it.
  mutating func put(json text: String, limit: Int = .max) {
    let isDone = unsafe text.utf8.withContiguousStorageIfAvailable { bytes in  // for the call only
      guard bytes.count <= limit else { return false }
      let before = count
      let output = unsafe room(bytes.count + 2)  // and the quotes
      unsafe output.storeBytes(of: 0x22, as: UInt8.self)  // the first
      unsafe output.storeBytes(of: 0x22, toByteOffset: bytes.count + 1, as: UInt8.self)  // and the last of them
      if let base = bytes.baseAddress, unsafe !copyPlain(base, bytes.count, output + 1) {  // between the quotes
        count = before
        return false
      }
      return true
    }
    guard isDone != true else { return }
    var escaped: [UInt8] = []
    escaped.append(jsonString: text, limit: limit)
    put(escaped.span)
  }

  /// The last `digits` of a number's 16.
  mutating func put(hex value: UInt64, digits: Int) {
    let (high, low) = (UInt32(truncatingIfNeeded: value >> 32), UInt32(truncatingIfNeeded: value))
    let text: InlineArray<2, UInt64> = [hexDigits(high).bigEndian, hexDigits(low).bigEndian]
    let output = unsafe room(digits)
    unsafe text.span.withUnsafeBytes { text in  // for the call only
      unsafe output.copyMemory(from: text.baseAddress! + (16 - digits), byteCount: digits)  // the last of 16
    }
  }

  mutating func put(decimal value: UInt64, minimumWidth: Int = 1) {
    let decimal = Decimal(value, minimumWidth: minimumWidth)
    put(decimal.digits.span.extracting(decimal.start...))
  }
}

/// Copies what needs no escaping.
///
/// - Returns: false at the first byte that does, or is not ASCII.
private func copyPlain(_ input: UnsafePointer<UInt8>, _ count: Int, _ output: UnsafeMutableRawPointer) -> Bool {
  let bytes = unsafe UnsafeRawPointer(input)  // the same
  var i = 0
  while i + 8 <= count {
    let word = unsafe bytes.loadUnaligned(fromByteOffset: i, as: UInt64.self)  // below `count`
    if !isPlain(word) { return false }
    unsafe output.storeBytes(of: word, toByteOffset: i, as: UInt64.self)  // as above
    i += 8
  }
  while i < count {
    let byte = unsafe input[i]  // below `count`
    if byte < 0x20 || byte > 0x7E || byte == 0x22 || byte == 0x5C { return false }
    unsafe output.storeBytes(of: byte, toByteOffset: i, as: UInt8.self)  // as above
    i += 1
  }
  return true
}

/// Eight bytes at once: none below 0x20, above 0x7E, a quote or a backslash.
private func isPlain(_ word: UInt64) -> Bool {
  let ones: UInt64 = 0x0101_0101_0101_0101
  let (quote, backslash) = (word ^ (ones &* 0x22), word ^ (ones &* 0x5C))
  let special =
    word | (word &+ ones) | ((word &- ones &* 0x20) & ~word) | ((quote &- ones) & ~quote)
    | ((backslash &- ones) & ~backslash)
  return special & (ones &* 0x80) == 0
}

/// Eight hex digits at once, the first on top.
private func hexDigits(_ value: UInt32) -> UInt64 {
  var nibbles = UInt64(value)
  nibbles = (nibbles | nibbles << 16) & 0x0000_FFFF_0000_FFFF
  nibbles = (nibbles | nibbles << 8) & 0x00FF_00FF_00FF_00FF
  nibbles = (nibbles | nibbles << 4) & 0x0F0F_0F0F_0F0F_0F0F
  let letters = ((nibbles &+ 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101
  return nibbles &+ 0x3030_3030_3030_3030 &+ letters &* 0x27  // from '0'; letters begin 0x27 after '9'
}
