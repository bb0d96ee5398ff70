import com.marcnuri.helm.Helm;
import com.marcnuri.helm.LintResult;
import java.nio.file.Files;
import java.nio.file.Path;

/** `java -cp '.local/helm/*' Render.java CHART OUT VALUES…`: lints the chart, and writes what each file of values makes of it. */
final class Render {
    private static final String KUBERNETES = "1.31.0";

    public static void main(String[] arguments) throws Exception {
        Helm helm = new Helm(Path.of(arguments[0]));
        for (int of = 2; of < arguments.length; of++) {
            Path values = Path.of(arguments[of]);
            String rendered = helm.template()
                    .withName("shop")
                    .withNamespace("recommendations")
                    .withKubeVersion(KUBERNETES)
                    .withValuesFile(values)
                    .call();
            Files.writeString(Path.of(arguments[1]).resolve(values.getFileName()), rendered);
        }
        LintResult lint = helm.lint().call();
        lint.getMessages().forEach(System.err::println);
        System.exit(lint.isFailed() ? 1 : 0);
    }
}
