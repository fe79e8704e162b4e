internal import CP11Kit
internal import KMSCore

/// A token's address (RFC 7512): `pkcs11:token=prod;serial=0123?module-path=/usr/lib/softhsm/libsofthsm2.so`.
///
/// Stricter than p11-kit, which passes over what it does not know.
public struct PKCS11URI: Sendable, Hashable {
  /// A path, with its folder.
  public let modulePath: String
  /// CKA token label, 1 to 32 bytes.
  public let tokenLabel: String
  /// The token's serial number; nil when any will do.
  public let serial: String?
  /// As written: a `file:` URI or another source of the suite. The PIN itself never stands in a URI.
  public let pinSource: String?

  private static let known: Set<String> = ["token", "serial", "manufacturer", "model", "module-path", "pin-source"]

  /// - Throws: ``KMSError/Code/configurationInvalid``. The URI is not repeated in it: it could hold a PIN.
  public init(parsing text: String) throws {
    let values = try Self.attributes(text)
    guard let uri = unsafe p11_kit_uri_new() else { throw Self.invalid("it cannot be read", "Try again.") }
    defer { unsafe p11_kit_uri_free(uri) }  // freed below; C strings for the call only
    guard unsafe p11_kit_uri_parse(text, P11_KIT_URI_FOR_ANY, uri) == P11_KIT_URI_OK.rawValue,  // call only
      unsafe p11_kit_uri_any_unrecognized(uri) == 0  // freed below; C strings for the call only
    else { throw Self.invalid("it is no PKCS#11 URI", Self.example) }

    guard let token = values["token"], !token.isEmpty, token.utf8.count <= 32 else {
      throw Self.invalid("it names no token", "Add token= with the token's label, 32 bytes at most. \(Self.example)")
    }
    guard let path = values["module-path"] else {
      throw Self.invalid("it names no module", "Add ?module-path= with the library's path. \(Self.example)")
    }
    guard path.contains("/") else {
      throw Self.invalid(
        "module-path '\(path.prefix(80))' is not a path",
        "Write it with its folder, so that no other library of that name is taken.")
    }
    tokenLabel = token
    modulePath = path
    serial = values["serial"]
    pinSource = values["pin-source"]
  }

  private static let example =
    "For example: pkcs11:token=prod?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/run/secrets/pin"

  private static func attributes(_ text: String) throws -> [String: String] {
    guard text.hasPrefix("pkcs11:") else { throw invalid("it does not begin with 'pkcs11:'", example) }
    let parts = text.dropFirst(7).split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
    let pairs = parts[0].split(separator: ";") + (parts.count > 1 ? parts[1].split(separator: "&") : [])
    var values: [String: String] = [:]
    for pair in pairs {
      let sides = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      let name = String(sides[0])
      guard name != "pin-value" else {
        throw invalid("it holds a PIN", "Use pin-source, and change that PIN: it stands in a file now.")
      }
      guard sides.count == 2, known.contains(name) else {
        throw invalid(
          "there is no attribute '\(name.prefix(40))'", "Known are \(known.sorted().joined(separator: ", ")).")
      }
      guard values[name] == nil else { throw invalid("'\(name)' is there twice", "Give it once.") }
      guard let value = decoded(sides[1]) else {
        throw invalid("the value of '\(name)' is not UTF-8 with %-escapes", "Write other bytes as %XX.")
      }
      values[name] = value
    }
    return values
  }

  private static func decoded(_ text: Substring) -> String? {
    var bytes: [UInt8] = []
    var rest = text.utf8
    while let byte = rest.popFirst() {
      guard byte == 0x25 else {
        bytes.append(byte)
        continue
      }
      let digits = rest.prefix(2)
      guard digits.count == 2, let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 16) else { return nil }
      bytes.append(value)
      rest = rest.dropFirst(2)
    }
    return String(validating: bytes, as: UTF8.self)
  }

  private static func invalid(_ problem: String, _ advice: String) -> KMSError {
    KMSError(.configurationInvalid, "the PKCS#11 URI is not right: \(problem)", advice: advice)
  }
}
