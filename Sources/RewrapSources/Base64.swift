internal import FoundationEssentials
internal import KMSCore

/// RFC 4648, section 4, with padding.
package enum Base64 {
  package static func encode(_ bytes: [UInt8]) -> [UInt8] { Array(Data(bytes).base64EncodedData()) }

  package static func decode(_ text: [UInt8]) throws -> [UInt8] {
    guard let data = Data(base64Encoded: Data(text)) else { throw invalid() }
    return Array(data)
  }

  static func invalid() -> KMSError {
    KMSError(.malformedEnvelope, "a value is not base64", advice: "Is this column encrypted?")
  }
}
