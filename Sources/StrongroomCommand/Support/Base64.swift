import FoundationEssentials
import KMSCore

/// RFC 4648, section 4, with padding.
enum Base64 {
  static func encode(_ bytes: [UInt8]) -> [UInt8] { Array(Data(bytes).base64EncodedData()) }

  static func decode(_ text: [UInt8]) throws -> [UInt8] {
    guard let data = Data(base64Encoded: Data(text)) else {
      throw KMSError(.malformedEnvelope, "a value is not base64", advice: "Is this column encrypted?")
    }
    return Array(data)
  }
}
