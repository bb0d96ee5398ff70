package rheostat;

import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.lang.reflect.Field;
import org.apache.flink.streaming.api.operators.python.embedded.AbstractEmbeddedPythonFunctionOperator;

/**
 * The Python interpreter of an operator, without a word of pemja's types.
 *
 * <p>A cluster has pemja twice: in flink-python's jar beside Flink, whose operators hold the interpreter, and in the same
 * jar that `flink run` ships with the job, where our classes would find it first. To name a type of it here would be to
 * name the wrong one (LinkageError), unless every cluster is told that pemja comes from the parent.
 */
final class EmbeddedPython {
    private final MethodHandle exec;
    private final MethodHandle invokeMethod;

    private EmbeddedPython(MethodHandle exec, MethodHandle invokeMethod) {
        this.exec = exec;
        this.invokeMethod = invokeMethod;
    }

    static EmbeddedPython of(AbstractEmbeddedPythonFunctionOperator<?> operator) {
        try {
            Field field = AbstractEmbeddedPythonFunctionOperator.class.getDeclaredField("interpreter");
            field.setAccessible(true);
            Object interpreter = field.get(operator);
            MethodHandles.Lookup lookup = MethodHandles.publicLookup();
            return new EmbeddedPython(
                    lookup.bind(interpreter, "exec", MethodType.methodType(void.class, String.class)),
                    lookup.bind(
                                    interpreter,
                                    "invokeMethod",
                                    MethodType.methodType(Object.class, String.class, String.class, Object[].class))
                            .asFixedArity());
        } catch (ReflectiveOperationException e) {
            throw new IllegalStateException("PyFlink's operators hold their interpreter otherwise than in 2.3", e);
        }
    }

    void exec(String code) {
        try {
            exec.invoke(code);
        } catch (Throwable e) {
            throw rethrown(e);
        }
    }

    /** By invokeMethod with one argument, as PyFlink itself calls: the way of pemja that is well trodden. */
    Object invoke(String object, String method, Object argument) {
        try {
            return invokeMethod.invoke(object, method, new Object[] {argument});
        } catch (Throwable e) {
            throw rethrown(e);
        }
    }

    private static RuntimeException rethrown(Throwable e) {
        if (e instanceof Error) {
            throw (Error) e;
        }
        return e instanceof RuntimeException ? (RuntimeException) e : new IllegalStateException(e);
    }
}
