internal import CP11Kit

/// Attribute types, by the names of the standard.
package struct AttributeType: RawRepresentable, Sendable, Hashable {
  package let rawValue: UInt
  package init(rawValue: UInt) { self.rawValue = rawValue }

  package static let objectClass = Self(rawValue: CKA_CLASS)
  package static let token = Self(rawValue: CKA_TOKEN)
  package static let isPrivate = Self(rawValue: CKA_PRIVATE)
  package static let label = Self(rawValue: CKA_LABEL)
  package static let application = Self(rawValue: CKA_APPLICATION)
  package static let value = Self(rawValue: CKA_VALUE)
  package static let keyType = Self(rawValue: CKA_KEY_TYPE)
  package static let id = Self(rawValue: CKA_ID)
  package static let sensitive = Self(rawValue: CKA_SENSITIVE)
  package static let encrypt = Self(rawValue: CKA_ENCRYPT)
  package static let decrypt = Self(rawValue: CKA_DECRYPT)
  package static let wrap = Self(rawValue: CKA_WRAP)
  package static let unwrap = Self(rawValue: CKA_UNWRAP)
  package static let sign = Self(rawValue: CKA_SIGN)
  package static let verify = Self(rawValue: CKA_VERIFY)
  package static let derive = Self(rawValue: CKA_DERIVE)
  package static let valueLength = Self(rawValue: CKA_VALUE_LEN)
  package static let extractable = Self(rawValue: CKA_EXTRACTABLE)
  package static let local = Self(rawValue: CKA_LOCAL)
  package static let neverExtractable = Self(rawValue: CKA_NEVER_EXTRACTABLE)
  package static let checkValue = Self(rawValue: CKA_CHECK_VALUE)
  package static let alwaysSensitive = Self(rawValue: CKA_ALWAYS_SENSITIVE)
  package static let alwaysAuthenticate = Self(rawValue: CKA_ALWAYS_AUTHENTICATE)
  package static let modifiable = Self(rawValue: CKA_MODIFIABLE)
  package static let modulus = Self(rawValue: CKA_MODULUS)
  package static let modulusBits = Self(rawValue: CKA_MODULUS_BITS)
  package static let publicExponent = Self(rawValue: CKA_PUBLIC_EXPONENT)
}

extension AttributeType {
  /// As the standard writes it.
  package var name: String { Self.names[rawValue] ?? "CKA 0x" + String(rawValue, radix: 16) }

  private static let names: [UInt: String] = [
    CKA_CLASS: "CKA_CLASS",
    CKA_TOKEN: "CKA_TOKEN",
    CKA_PRIVATE: "CKA_PRIVATE",
    CKA_LABEL: "CKA_LABEL",
    CKA_APPLICATION: "CKA_APPLICATION",
    CKA_VALUE: "CKA_VALUE",
    CKA_KEY_TYPE: "CKA_KEY_TYPE",
    CKA_ID: "CKA_ID",
    CKA_SENSITIVE: "CKA_SENSITIVE",
    CKA_ENCRYPT: "CKA_ENCRYPT",
    CKA_DECRYPT: "CKA_DECRYPT",
    CKA_WRAP: "CKA_WRAP",
    CKA_UNWRAP: "CKA_UNWRAP",
    CKA_SIGN: "CKA_SIGN",
    CKA_VERIFY: "CKA_VERIFY",
    CKA_DERIVE: "CKA_DERIVE",
    CKA_VALUE_LEN: "CKA_VALUE_LEN",
    CKA_EXTRACTABLE: "CKA_EXTRACTABLE",
    CKA_LOCAL: "CKA_LOCAL",
    CKA_NEVER_EXTRACTABLE: "CKA_NEVER_EXTRACTABLE",
    CKA_CHECK_VALUE: "CKA_CHECK_VALUE",
    CKA_ALWAYS_SENSITIVE: "CKA_ALWAYS_SENSITIVE",
    CKA_ALWAYS_AUTHENTICATE: "CKA_ALWAYS_AUTHENTICATE",
    CKA_MODIFIABLE: "CKA_MODIFIABLE",
    CKA_MODULUS: "CKA_MODULUS",
    CKA_MODULUS_BITS: "CKA_MODULUS_BITS",
    CKA_PUBLIC_EXPONENT: "CKA_PUBLIC_EXPONENT",
  ]
}

/// Attributes with their values, laid out as Cryptoki wants them. Made once where it can be, as building one costs
/// allocations. Holds no secrets: a key's value is added for the one call that needs it.
@safe
package final class Template: @unchecked Sendable {  // written in init only; Cryptoki reads it
  let attributes: UnsafeMutableBufferPointer<CK_ATTRIBUTE>
  private let storage: UnsafeMutableBufferPointer<UInt8>

  package enum Value: Sendable {
    case flag(Bool)
    case number(UInt)
    case bytes([UInt8])

    fileprivate var encoded: [UInt8] {
      switch self {
      case .flag(let flag): [flag ? 1 : 0]
      case .number(let number): unsafe withUnsafeBytes(of: number) { unsafe Array($0) }  // copied at once
      case .bytes(let bytes): bytes
      }
    }
  }

  package init(_ values: [(AttributeType, Value)]) {
    let encoded = values.map(\.1.encoded)
    // Each value begins at a multiple of 8: tokens read numbers in place.
    let sizes = encoded.map { ($0.count + 7) / 8 * 8 }
    let raw = UnsafeMutableRawBufferPointer.allocate(byteCount: max(8, sizes.reduce(0, +)), alignment: 8)
    unsafe storage = raw.bindMemory(to: UInt8.self)  // freed in deinit
    unsafe attributes = UnsafeMutableBufferPointer<CK_ATTRIBUTE>.allocate(capacity: max(1, values.count))  // ours
    var offset = 0
    for (i, (type, _)) in values.enumerated() {
      let start = unsafe storage.baseAddress! + offset  // within what was allocated
      for (k, byte) in encoded[i].enumerated() { unsafe start[k] = byte }  // within what was allocated
      unsafe attributes.initializeElement(  // within what was allocated
        at: i,
        to: CK_ATTRIBUTE(
          type: type.rawValue, pValue: UnsafeMutableRawPointer(start), ulValueLen: UInt(encoded[i].count)))
      offset += sizes[i]
    }
    count = UInt(values.count)
  }

  let count: UInt

  deinit {
    unsafe storage.deallocate()  // not used after
    unsafe attributes.deallocate()  // not used after
  }
}
