import Testing

@testable import AccessLog

@Suite struct JSONObjectTests {
  private func object(_ text: String) -> JSONObject? { JSONObject(Array(text.utf8)[...]) }

  @Test func readsWhatOthersWrite() throws {
    let read = try #require(
      object(
        #" { "a" : "\u00e9\ud83d\udd10\/\b\f" , "n":-1.5e3,"t":true,"f":false,"z":null,"l":["x", 1, []],"o":{"p":{}}} "#
      ))
    #expect(read["a"]?.string == "é🔐/\u{8}\u{C}" && read["n"]?.number == -1500)
    #expect(read["t"]?.bool == true && read["f"]?.bool == false && read["z"] == .null && read["o"] == .object)
    #expect(read["l"]?.strings == ["x"] && read["missing"] == nil)
    #expect(object("{}") != nil)
  }

  @Test(arguments: [
    "", "{", "[]", "{}x", "{}{}", #"{"a"}"#, #"{"a":}"#, #"{"a":1,}"#, #"{"a":"b}"#, #"{"a":"\x"}"#, #"{"a":"\ud800"}"#,
    #"{"a":"\ud800\u0041"}"#, #"{"a":"\udc00"}"#, #"{"a":"\u12"}"#, #"{"a":"\u+123"}"#, "{\"a\":\"\n\"}", #"{"a":tru}"#,
    #"{"a":[1 2]}"#, #"{"a":1e999}"#, #"{"a":--1}"#, #"{a:1}"#,
  ]) func refusesWhatIsNone(_ text: String) { #expect(object(text) == nil) }

  @Test func refusesWhatIsNotUTF8() {
    #expect(JSONObject([0x7B, 0x22, 0xFF, 0x22, 0x3A, 0x31, 0x7D]) == nil)
    #expect(JSONObject([0x7B, 0x22, 0x5C, 0x6E, 0xC3, 0x22, 0x3A, 0x31, 0x7D]) == nil)
  }

  @Test func nestsOnlySoDeep() {
    #expect(object(#"{"a":"# + String(repeating: "[", count: 100_000)) == nil)
    #expect(object(#"{"a":"# + String(repeating: "{\"a\":", count: 100_000)) == nil)
  }
}
