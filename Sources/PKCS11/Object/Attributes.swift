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
    unsafe storage = raw.bindMemory(to: UInt8.self)
    unsafe attributes = UnsafeMutableBufferPointer<CK_ATTRIBUTE>.allocate(capacity: max(1, values.count))
    var offset = 0
    for (i, (type, _)) in values.enumerated() {
      let start = unsafe storage.baseAddress! + offset
      for (k, byte) in encoded[i].enumerated() { unsafe start[k] = byte }
      unsafe attributes.initializeElement(
        at: i,
        to: CK_ATTRIBUTE(
          type: type.rawValue, pValue: UnsafeMutableRawPointer(start), ulValueLen: UInt(encoded[i].count)))
      offset += sizes[i]
    }
    count = UInt(values.count)
  }

  let count: UInt

  deinit {
    unsafe storage.deallocate()
    unsafe attributes.deallocate()
  }

  /// A new session object of a wrapped or given key: generic secret, never on the token.
  package static func sessionKey(sensitive: Bool) -> Template {
    Template([
      (.objectClass, .number(CKO_SECRET_KEY)), (.keyType, .number(CKK_GENERIC_SECRET)), (.token, .flag(false)),
      (.isPrivate, .flag(true)), (.sensitive, .flag(sensitive)), (.extractable, .flag(true)),
    ])
  }
}
