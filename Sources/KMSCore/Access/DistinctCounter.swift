import Glibc

/// Estimates how many distinct values went by, to some 7 %, in 256 bytes: HyperLogLog with linear counting below
/// 640. Values must be hashes, evenly spread.
package struct DistinctCounter: Sendable, Hashable {
  private var registers = [UInt8](repeating: 0, count: size)
  private var harmonic = Double(size)
  private var empty = size

  private static let size = 256

  package init() {}

  /// True when the estimate changed.
  package mutating func add(_ hash: UInt64) -> Bool {
    let register = Int(hash >> 56)
    let rank = UInt8(min(56, (hash << 8).leadingZeroBitCount) + 1)
    let old = registers[register]
    guard rank > old else { return false }
    registers[register] = rank
    if old == 0 { empty -= 1 }
    harmonic += Self.power(rank) - Self.power(old)
    return true
  }

  package mutating func removeAll() {
    guard empty < Self.size else { return }
    self = Self()
  }

  package var estimate: Double {
    let m = Double(Self.size)
    let raw = 0.7213 / (1 + 1.079 / m) * m * m / harmonic
    return raw <= 2.5 * m && empty > 0 ? m * log(m / Double(empty)) : raw
  }

  private static func power(_ rank: UInt8) -> Double { Double(sign: .plus, exponent: -Int(rank), significand: 1) }
}
